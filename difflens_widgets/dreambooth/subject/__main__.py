"""Draws the embedded subject again, in the package: ``python -m difflens_widgets.dreambooth.subject``."""

from pathlib import Path

from . import write_subject

write_subject(Path(__file__).parent)
