"""HTML pages: the widgets in one file, without kernel, server or network; and in the output of a notebook cell."""

from .embed import embedded_page
from .run_views import run_views
from .view import PageView, kept, left_out
from .write import WithPage, to_html

__all__ = ["PageView", "WithPage", "embedded_page", "kept", "left_out", "run_views", "to_html"]
