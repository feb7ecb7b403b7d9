"""A tutorial of the site: executed, with its widgets as pages, as one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ...runs.render.page.document import policy

_HERE = Path(__file__).parent
_VIEW = "application/vnd.jupyter.widget-view+json"
_WIDEST = 1100  # pixels of a picture: twice what a column shows
_LINK = re.compile(r'href="(\d\d_\w+)\.ipynb(#[^"]*)?"')


def execute(path: Path, seconds: int) -> Any:
    """Run a notebook in a folder of its own, with the results that it reads; returns it with new outputs.

    Raises
    ------
    ValueError
        If a cell fails, or takes longer than `seconds`.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="difflens-site-") as folder, _every_widget_static():
        if (path.parent / "results").is_dir():
            shutil.copytree(path.parent / "results", Path(folder, "results"))
        client = NotebookClient(
            notebook,
            timeout=seconds,
            kernel_name="python3",
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],  # newer kernels warn about TCP, in the terminal, at each start
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError) as error:
            raise ValueError(f"{path.name}: {error}") from error
    for cell in notebook.cells:
        outputs = [_lightened(output) for output in cell.get("outputs", ())]
        if "outputs" in cell:
            cell["outputs"] = [output for output in outputs if output is not None]
    return notebook


def title_and_question(notebook: Any) -> tuple[str, str]:
    """The heading of the first cell, and the question in italics below it; the heading again if there is none."""
    text = next((cell.source for cell in notebook.cells if cell.cell_type == "markdown"), "")
    heading = re.search(r"^# +(.+)$", text, re.MULTILINE)
    question = re.search(r"^\*([^*\n].*?)\*$", text, re.MULTILINE | re.DOTALL)
    title = _plain(heading[1]) if heading else "Tutorial"
    return title, _plain(question[1]) if question else title


def html_page(notebook: Any, title: str) -> str:
    """The notebook as HTML; links to other tutorials lead to their pages."""
    from nbconvert import HTMLExporter

    # the template "basic" has neither style sheets nor scripts, so none that would be fetched
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    body, _ = exporter.from_notebook_node(_with_mathml(notebook))
    body = _LINK.sub(lambda match: f'href="{match[1]}.html{match[2] or ""}"', body)
    back = '<p class="back"><a href="index.html">All tutorials</a></p>'
    return page(title, f'{back}\n<div class="tutorial">{body}</div>\n{back}')


def page(title: str, body: str) -> str:
    """One page of the site around a body, with a policy that lets nothing be fetched."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy())}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_styles()}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )


@cache
def _styles() -> str:
    """The style sheet of the site, and the colors of code for light and dark."""
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
    own = (_HERE / "site.css").read_text("utf-8")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}"


@contextmanager
def _every_widget_static() -> Iterator[None]:
    """Kernels that start now display every widget as a page."""
    before = os.environ.get("DIFFLENS_STATIC")
    os.environ["DIFFLENS_STATIC"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DIFFLENS_STATIC"]
        else:
            os.environ["DIFFLENS_STATIC"] = before


def _lightened(output: Any) -> Any | None:
    """An output without what needs a kernel, its picture as WebP; None for a progress bar, which is nothing else."""
    data = output.get("data")
    if not data:
        return output
    if _VIEW in data and not {"text/html", "image/png", "image/jpeg"} & {*data}:
        return None
    data.pop(_VIEW, None)
    if "text/html" in data and "<iframe" in data["text/html"]:
        data.pop("image/png", None)  # the page has a picture of its own for where it cannot run
    for kind in ("image/png", "image/jpeg"):
        if kind in data and "text/html" not in data:
            data["text/html"] = _as_webp(data.pop(kind))
    return output


def _as_webp(encoded: str) -> str:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        small = image.convert("RGB")
    width = min(small.width, _WIDEST // 2) if small.width >= _WIDEST else small.width
    small.thumbnail((_WIDEST, 4 * _WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    address = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="output of the cell above" width="{width}" src="{address}">'


def _with_mathml(notebook: Any) -> Any:
    """Formulas as MathML, which browsers draw themselves; MathJax would have to be fetched."""
    from latex2mathml.converter import convert

    def formula(match: re.Match[str]) -> str:
        return convert(match[1].strip(), display="block")

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\$\$(.+?)\$\$", formula, cell.source, flags=re.DOTALL)
    return notebook


def _plain(markdown: str) -> str:
    return " ".join(re.sub(r"[`*_]", "", markdown).split())
