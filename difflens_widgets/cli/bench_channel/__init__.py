"""``difflens bench channel``: the widgets in JupyterLab, in a real browser, while they are used.

JupyterLab, its kernel and Chromium are the installed ones; playwright presses the keys.
"""

from .bench import bench_channel

__all__ = ["bench_channel"]
