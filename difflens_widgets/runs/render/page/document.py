"""The HTML of a page: the bundles of the widgets and the trait values of each; `page.js` replaces the kernel.

A prompt is always data: it enters the page as JSON or as escaped text. The content security policy of the page allows
only its own script and the bundles to run, and nothing to be fetched.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import io
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from .view import PageView

_HERE = Path(__file__).parent
_STATIC = _HERE.parents[2] / "widgets" / "static"
_STILL_WIDTH = 128  # CSS pixels; images are stored at twice this width for dense screens


def document(
    views: Sequence[Sequence[PageView]],
    title: str,
    *,
    still: tuple[int, int],
    reduced: str = "",
    embedded: bool = False,
) -> str:
    """The text of a page with the views of each source; see `fitted`.

    Parameters
    ----------
    views : sequence of sequences of PageView
        The views of one source have their layer in common.
    title : str
    still : (int, int)
        WebP quality and most pixels a side of the pictures for a browser without scripts.
    reduced : str
        What was reduced, as a sentence.
    embedded : bool
        Without heading, margins and still pictures.
    """
    flat = [(group, view) for group, of_source in enumerate(views) for view in of_source]
    data = {
        "modules": {name: bundle(name) for name in sorted({view.widget for _, view in flat})},
        "views": [
            {"module": view.widget, "group": group, **_packed({**view.state, "_static": True})} for group, view in flat
        ],
    }
    names = _names([view for _, view in flat], several=len(views) > 1)
    with_heading = len(flat) > 1 and len(views) > 1
    sections = [
        _section(view, name, view.title if with_heading else "", None if embedded else still)
        for name, (_, view) in zip(names, flat, strict=True)
    ]
    parts = {
        "title": html.escape(title),
        "policy": html.escape(policy()),
        "styles": "\n".join(p.read_text("utf-8").replace("</", "<\\/") for p in (*_styles(), _HERE / "page.css")),
        "script": script(),
        "data": _json_for_html(data),
        "class": ' class="embedded"' if embedded else "",
        "menu": _menu(names) if len(flat) > 1 else "",
        "reduced": f'<p class="reduced">{html.escape(reduced)}</p>' if reduced else "",
        "views": "\n".join(sections),
    }
    # in one pass, so that {{data}} in a prompt is not replaced
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _template())


def title_of(views: Sequence[Sequence[PageView]]) -> str:
    """The title of the first view."""
    return next((view.title for of_source in views for view in of_source), "")


def policy() -> str:
    """The content security policy of a page, and of a page that contains pages: nothing is fetched."""
    digest = base64.b64encode(hashlib.sha256(script().encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def script() -> str:
    """The program of a page, which replaces the kernel."""
    return (_HERE / "page.js").read_text("utf-8").strip()


@cache
def bundle(name: str) -> str:
    """The program of a widget.

    Raises
    ------
    FileNotFoundError
        If the front end is not built.
    """
    return (_STATIC / f"{name}.js").read_text("utf-8")


@cache
def _template() -> str:
    return (_HERE / "page.html").read_text("utf-8")


def _styles() -> tuple[Path, ...]:
    return (_STATIC / "difflens.css",)


def _packed(state: dict[Any, Any]) -> dict[str, Any]:
    """A state without its bytes, and a list of the path and base64 text of each of them, as in kernel messages.

    Maps are compressed: one byte a value, mostly smooth.
    """
    buffers: list[dict[str, Any]] = []

    def strip(value: Any, path: list[str | int]) -> Any:
        if isinstance(value, (bytes, bytearray, memoryview)):
            is_map = len(path) == 3 and not state[path[0]][path[1]].get("mime", "").startswith("image/")
            data = gzip.compress(value, mtime=0) if is_map else value
            buffers.append({"path": path, "gzip": is_map, "base64": base64.b64encode(data).decode("ascii")})
            return None
        if isinstance(value, dict):
            return {key: strip(item, [*path, key]) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [strip(item, [*path, index]) for index, item in enumerate(value)]
        return value

    return {"state": strip(state, []), "buffers": buffers}


def _json_for_html(value: Any) -> str:
    """JSON that can neither end the script element that contains it nor begin a comment there."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _names(views: Sequence[PageView], several: bool) -> list[str]:
    """What the menu calls each view: its label, and of what it is where there are several sources."""
    return [f"{view.label}: {view.title}" if several else view.label for view in views]


def _menu(names: Sequence[str]) -> str:
    """The buttons that choose a view; hidden until the script runs, because without it all views are there."""
    buttons = "".join(
        f'<button type="button" aria-pressed="false" title="{html.escape(name)}">{html.escape(name)}</button>'
        for name in (*names, "All")
    )
    return f'<nav aria-label="Views" hidden>{buttons}</nav>'


def _section(view: PageView, name: str, heading: str, still: tuple[int, int] | None) -> str:
    """The HTML section of one view, with its pictures for a browser without scripts."""
    heading = f"<h2>{html.escape(heading)}</h2>" if heading else ""
    stills = "" if still is None else "".join(_figure(caption, image, *still) for caption, image in view.stills)
    fallback = f'<noscript><div class="stills">{stills}</div></noscript>' if stills else "<noscript></noscript>"
    return f'<section aria-label="{html.escape(name)}">{heading}<div class="view"></div>{fallback}</section>'


def _figure(caption: str, image: Image.Image, quality: int, side: int) -> str:
    """One picture as it is; a sheet of pictures (it has no caption) is as wide as it is."""
    sheet = not caption
    largest = 4 * side if sheet else side
    small = image.convert("RGB")
    small.thumbnail((largest, largest))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality)
    address = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    crisp = ' class="small"' if image.width < _STILL_WIDTH else ""
    width = small.width if sheet else _STILL_WIDTH
    text = html.escape(caption or "all pictures on one sheet")
    below = "" if sheet else f"<figcaption>{text}</figcaption>"
    return f'<figure><img alt="{text}"{crisp} width="{width}" src="{address}">{below}</figure>'
