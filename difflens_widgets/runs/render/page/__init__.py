"""Pages of their own: the notebook's working layer slider in one HTML file, without kernel, server or network.

The page carries the widget's own bundle and the trait values of each run; `page.js` stands in for the kernel's side.
A prompt is data throughout: it enters the page as JSON or as escaped text, and the page's own content security policy
lets nothing run but its one script and the bundle, and nothing be fetched at all.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ...format.atomic_write import replacing
from ...record import RunRecord
from ..front_end import static_state

_HERE = Path(__file__).parent
_STATIC = _HERE.parents[2] / "widgets" / "static"
_BUNDLE = _STATIC / "layer_slider.js"
_STYLES = _STATIC / "difflens.css"
_STILL_WIDTH = 128  # CSS pixels; twice as many are kept for dense screens


def to_html(run: RunRecord, path: Path) -> Path:
    """Write a page with one run; see `runs_to_html`."""
    return runs_to_html([run], path)


def runs_to_html(runs: Sequence[RunRecord], path: Path, title: str | None = None) -> Path:
    """Write one self-contained page with a working layer slider for each run, one under another.

    Where scripts are switched off, all pictures are shown side by side.

    Parameters
    ----------
    title : str, optional
        The page's heading; by default the prompt of the first run.

    Raises
    ------
    ValueError
        If there is no run, or one has no pictures yet.
    OSError
        If it cannot be written (a file that was there before is untouched), or the bundle is not built.
    """
    if not runs:
        raise ValueError("there is no run to write a page of")
    for run in runs:
        if not run.images:
            raise ValueError(f"this run has no pictures yet: {_name(run)}")
    title = _name(runs[0]) if title is None else " ".join(title.split())
    page = _render(runs, title)
    with replacing(Path(path), f"the page {title[:40]!r}") as file:
        file.write(page.encode("utf-8", "replace"))  # half a surrogate pair in a prompt is shown as "?"
    return Path(path)


def _render(runs: Sequence[RunRecord], title: str) -> str:
    script = (_HERE / "page.js").read_text("utf-8").strip()
    data = {"module": _BUNDLE.read_text("utf-8"), "runs": [_packed(static_state(run)) for run in runs]}
    parts = {
        "title": html.escape(title),
        "policy": html.escape(_policy(script)),
        "styles": "\n".join(p.read_text("utf-8").replace("</", "<\\/") for p in (_STYLES, _HERE / "page.css")),
        "script": script,
        "data": _json_for_html(data),
        "runs": "\n".join(_section(run, run_is_title=len(runs) == 1 and title == _name(run)) for run in runs),
    }
    # all places at once: what a prompt brings in is not searched for places again
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], (_HERE / "page.html").read_text("utf-8"))


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _packed(state: dict[str, Any]) -> dict[str, Any]:
    """Take the bytes out of a widget's state, as the kernel's messages do: their places, and base64 beside."""
    buffers: list[dict[str, Any]] = []

    def strip(value: Any, place: list[str | int]) -> Any:
        if isinstance(value, (bytes, bytearray, memoryview)):
            buffers.append({"place": place, "base64": base64.b64encode(value).decode("ascii")})
            return None
        if isinstance(value, dict):
            return {key: strip(item, [*place, key]) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [strip(item, [*place, index]) for index, item in enumerate(value)]
        return value

    return {"state": strip(state, []), "buffers": buffers}


def _json_for_html(value: Any) -> str:
    """JSON that cannot end the script element it stands in, nor begin a comment in it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(run: RunRecord, run_is_title: bool) -> str:
    """The place of one slider, and the pictures for where no script runs."""
    name = html.escape(_name(run))
    heading = "" if run_is_title else f"<h2>{name}</h2>"
    stills = "".join(
        f'<figure><img alt="{run.name_of(layer)}"{_small(image)} width="{_STILL_WIDTH}" src="{_still(image)}">'
        f"<figcaption>{run.name_of(layer)}</figcaption></figure>"
        for layer, image in sorted(dict(run.images).items())
    )
    return (
        f'<section aria-label="{name}">{heading}<div class="view"></div>'
        f'<noscript><div class="stills">{stills}</div></noscript></section>'
    )


def _small(image: Image.Image) -> str:
    return ' class="small"' if image.width < _STILL_WIDTH else ""


def _still(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((2 * _STILL_WIDTH, 2 * _STILL_WIDTH))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _name(run: RunRecord) -> str:
    return " ".join(run.prompt.split()) or "(empty prompt)"
