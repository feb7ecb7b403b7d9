"""``difflens view``: a saved run, comparison or training as a page, opened in the browser. Loads no torch."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ..analysis.comparison.comparison import Comparison
from ..analysis.sweep.result import MANIFEST
from ..dreambooth.history.history import TrainingHistory
from ..runs.render.page import WithPage, to_html
from ..runs.run import LensRun
from .targets import COMPARISON_FILE, RUN_FILE


def view(paths: Sequence[Path], page: Path | None, max_bytes: int | None, *, browser: bool = True) -> list[str]:
    """Write a page of some files and folders, and open it.

    Parameters
    ----------
    paths : sequence of Path
        ``.lens`` and ``.lenses`` files, folders with one that a command wrote, folders of trainings, and zips of these.
    page : Path, optional
        The page to write; by default one in a new temporary folder.
    max_bytes : int, optional
        As for `to_html`.
    browser : bool
        Open it in the browser, if there is one.

    Returns
    -------
    list of str
        Lines to print: where the page is, and whether a browser shows it.

    Raises
    ------
    ValueError, OSError
        If a path cannot be read, names a newer version or holds nothing that can be shown.
    """
    sources = [_load(path) for path in paths]
    if page is None:  # not deleted: the browser may read it at any time
        page = Path(tempfile.mkdtemp(prefix="difflens-")) / f"{paths[0].resolve().stem or 'page'}.html"
    address = to_html(sources, page, max_bytes=max_bytes).resolve()
    lines = [str(address)]
    if browser and not (_has_screen() and webbrowser.open(address.as_uri())):
        lines.append("no browser was found here: open this file in one, it needs no network")
    return lines


def _load(path: Path) -> WithPage:
    written = [path / name for name in (RUN_FILE, COMPARISON_FILE) if (path / name).is_file()]
    if len(written) == 1:  # a folder of `difflens lens --out` or `difflens compare --out`
        path = written[0]
    if (path / MANIFEST).is_file():
        raise ValueError(f"{path}: a sweep has no page; see its plot.png, or view the .lens files in {path / 'runs'}")
    if path.is_dir() or path.suffix == ".zip":
        return TrainingHistory.load(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.suffix == ".lens":
        return LensRun.load(path)
    if path.suffix == ".lenses":
        return Comparison.load(path)
    raise ValueError(f"{path}: expected a .lens file (a run), a .lenses file (a comparison) or a folder of a training")


def _has_screen() -> bool:
    """Whether a browser with a window can open; on a server a text browser would take the terminal instead."""
    if not sys.platform.startswith("linux") or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
