"""A page as the output of a notebook cell: it stays interactive in the saved notebook, without a kernel."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from io import BytesIO

from PIL import Image

from .budget import fitted
from .view import PageView

MAX_BYTES = 2_000_000
"""Of a page in a cell's output: a notebook with some of them can still be opened everywhere."""
_HEIGHTS = {"layer_slider": 790, "token_attention_grid": 800, "diff_viewer": 820, "epoch_scrubber": 680}
# The frame cannot see which colors the notebook has, only its own size: it is a little higher in a light notebook, and
# still higher in a dark one (see page.js). Where nothing is known, the frame has the colors of the system.
_STYLE = """<style>.difflens-still{display:none!important}
[data-jp-theme-light="true"] .difflens-page{height:calc(var(--difflens-height) + 8px)!important}
:is([data-jp-theme-light="false"],.vscode-dark) .difflens-page{height:calc(var(--difflens-height) + 16px)!important}
</style>"""
_STILL_SIDE = 640  # pixels


def embedded_page(view_of: Callable[[int], PageView], still: bytes) -> str:
    """The HTML of a cell's output: the page in a frame of its own, and a picture for places that take frames away.

    The frame runs scripts, but in an origin of its own: it cannot reach the notebook. JupyterLab takes frames and style
    sheets out of the outputs of a notebook that is not trusted, and GitHub does too: then the picture is seen, which
    the style sheet hides otherwise.

    Parameters
    ----------
    view_of : callable
        Takes the thinning, as `WithPage.page_views`, and returns the view. Its pictures are reduced to fit into
        `MAX_BYTES`, as far as that is possible.
    still : bytes
        The picture that replaces the page, in any format that Pillow reads.
    """
    first = view_of(0)
    page, title = fitted(
        lambda thinning: [[view_of(thinning) if thinning else first]], max_bytes=MAX_BYTES, embedded=True
    )
    with Image.open(BytesIO(still)) as image:
        small = image.convert("RGB")
    small.thumbnail((_STILL_SIDE, _STILL_SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=70)
    picture = base64.b64encode(buffer.getvalue()).decode("ascii")
    name = html.escape(f"{first.label}: {title}")
    height = _HEIGHTS[first.widget]
    text = page.decode("utf-8").replace('class="embedded"', f'class="embedded" data-height="{height}"', 1)
    return (
        f'{_STYLE}<iframe class="difflens-page" title="{name}" sandbox="allow-scripts allow-downloads" loading="lazy" '
        f'style="--difflens-height:{height}px;width:100%;max-width:940px;height:{height}px;border:0" '
        f'srcdoc="{html.escape(text)}"></iframe>'
        f'<img class="difflens-still" alt="{name}" src="data:image/webp;base64,{picture}">'
    )
