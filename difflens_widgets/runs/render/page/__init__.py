"""HTML pages: a working layer slider in one file, without kernel, server or network.

The page contains the bundle of the widget and the trait values of each run; `page.js` replaces the kernel. A prompt is
always data: it enters the page as JSON or as escaped text. The content security policy of the page allows only its own
script and the bundle to run, and nothing to be fetched.
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
_STILL_WIDTH = 128  # CSS pixels; images are stored at twice this width for dense screens


def to_html(run: RunRecord, path: Path) -> Path:
    """Write an HTML page with the slider of one run; see `runs_to_html` for errors."""
    return runs_to_html([run], path)


def runs_to_html(runs: Sequence[RunRecord], path: Path, title: str | None = None) -> Path:
    """Write one self-contained HTML page with a working layer slider for each run, one below the other.

    If scripts are switched off, the page shows the images of the layers side by side.

    Parameters
    ----------
    runs : sequence of RunRecord
        At least one; each with at least one image.
    path : Path
        The file to write. An existing file is replaced when the page is complete.
    title : str, optional
        The heading of the page; by default the prompt of the first run.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If there is no run, or if a run has no images yet.
    OSError
        If the file cannot be written (an existing file is unchanged), or if the bundle is not built.
    """
    if not runs:
        raise ValueError("there is no run to write a page of")
    for run in runs:
        if not run.images:
            raise ValueError(f"this run has no pictures yet: {_name(run)}")
    title = _name(runs[0]) if title is None else " ".join(title.split())
    page = _render(runs, title)
    with replacing(Path(path), f"the page {title[:40]!r}") as file:
        file.write(page.encode("utf-8", "replace"))  # half a surrogate pair in a prompt becomes "?"
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
    # in one pass, so that {{data}} in a prompt is not replaced
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], (_HERE / "page.html").read_text("utf-8"))


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _packed(state: dict[str, Any]) -> dict[str, Any]:
    """A state without its bytes, and a list of the path and base64 text of each of them, as in kernel messages."""
    buffers: list[dict[str, Any]] = []

    def strip(value: Any, path: list[str | int]) -> Any:
        if isinstance(value, (bytes, bytearray, memoryview)):
            buffers.append({"path": path, "base64": base64.b64encode(value).decode("ascii")})
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


def _section(run: RunRecord, run_is_title: bool) -> str:
    """The HTML section of one slider, with its images for a browser without scripts."""
    name = html.escape(_name(run))
    heading = "" if run_is_title else f"<h2>{name}</h2>"
    stills = "".join(
        f'<figure><img alt="{caption}"{_small(image)} width="{_STILL_WIDTH}" src="{_still(image)}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, image in _stills(run)
    )
    return (
        f'<section aria-label="{name}">{heading}<div class="view"></div>'
        f'<noscript><div class="stills">{stills}</div></noscript></section>'
    )


def _stills(run: RunRecord) -> list[tuple[str, Image.Image]]:
    """The images by layer, and those of the variants, each with its name as HTML."""
    found = [(run.name_of(layer), image) for layer, image in sorted(dict(run.images).items())]
    if run.variants:
        found = found[:1]  # it is the same for all layers
        found += [(run.name_of(*key), image) for key, image in sorted(dict(run.token_images).items(), key=_by_row)]
    return [(html.escape(name), image) for name, image in found]


def _by_row(item: tuple[tuple[int, Any], Image.Image]) -> tuple[int, int]:
    (layer, variant), _ = item
    return variant.number, layer


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
