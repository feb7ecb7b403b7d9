"""``difflens site``: the tutorials as a static site with working widgets, an index, and the API reference.

The tutorials are executed with every widget as a page in its output (``DIFFLENS_STATIC=1``) and made into HTML by
nbconvert; pdoc makes the reference. Needs the extra ``site``. Opened, the site needs no network, and no server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ...runs.format.atomic_write import replacing
from ..tutorials import find_tutorials
from .tutorial import execute, html_page, page, title_and_question

REFERENCE = "reference"
_NEEDED = {"nbconvert": "nbconvert", "nbclient": "nbclient", "pdoc": "pdoc", "latex2mathml": "latex2mathml.converter"}


@dataclass(frozen=True)
class Tutorial:
    """A tutorial of the site: its page, its title, and the question that it answers."""

    file: str
    title: str
    question: str


def build_site(out: Path, tell: Callable[[str], None], *, only: str = "*", seconds: int = 1800) -> Path:
    """Write the site into a folder; pages that are there already are replaced.

    Parameters
    ----------
    out : Path
        The folder of the site; it is made if it does not exist.
    tell : callable
        Gets one line for each page: its size.
    only : str
        A pattern for the names of the tutorials, for example ``"0[1-3]_*"``.
    seconds : int
        How long one cell may take.

    Returns
    -------
    Path
        The index page.

    Raises
    ------
    ValueError
        If a package of the extra ``site`` is missing, no tutorial has such a name, or a cell of one fails.
    OSError
        If a page cannot be written.
    """
    _require_packages()
    notebooks = [path for path in find_tutorials() if path.match(f"{only}.ipynb")]
    if not notebooks:
        raise ValueError(f"--only: no tutorial is called {only}")
    out.mkdir(parents=True, exist_ok=True)
    found: list[Tutorial] = []
    for path in notebooks:
        notebook = execute(path, seconds)
        title, question = title_and_question(notebook)
        tutorial = Tutorial(f"{path.stem}.html", title, question)
        _write(out / tutorial.file, html_page(notebook, title), tell)
        found.append(tutorial)
    from .reference import write_reference

    reference = write_reference(out / REFERENCE)
    tell(f"{_kilobytes(reference)}  {REFERENCE}/")
    _write(out / "index.html", _index(found), tell)
    return out / "index.html"


def _require_packages() -> None:
    from importlib import import_module

    for name, module in _NEEDED.items():
        try:
            import_module(module)
        except ImportError:
            raise ValueError(f'{name} is not installed: pip install "difflens_widgets[site]"') from None


def _index(tutorials: list[Tutorial]) -> str:
    rows = "\n".join(
        f'<li><a href="{escape(each.file)}"><strong>{escape(each.question)}</strong>'
        f"<span>{escape(each.title)}</span></a></li>"
        for each in tutorials
    )
    body = (
        "<h1>difflens: a microscope for text-to-image models</h1>\n"
        "<p>What does a text encoder understand of a prompt, and at which of its layers? Each tutorial asks one "
        "question and answers it with widgets that work on its page: move the sliders. Everything was made with the "
        "small model that difflens_widgets contains.</p>\n"
        f'<ul class="questions">\n{rows}\n</ul>\n'
        f'<p><a href="{REFERENCE}/difflens_widgets.html">API reference</a>: all public classes and functions.</p>'
    )
    return page("difflens", body)


def _write(path: Path, text: str, tell: Callable[[str], None]) -> None:
    data = text.encode("utf-8", "replace")
    with replacing(path, f"the page {path.name}") as file:
        file.write(data)
    tell(f"{_kilobytes([path])}  {path.name}")


def _kilobytes(paths: Any) -> str:
    return f"{sum(path.stat().st_size for path in paths) / 1000:8.0f} KB"
