"""Finds the tutorial notebooks and their results, in the wheel or in the checkout, and copies them for the user."""

from __future__ import annotations

import shutil
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "_notebooks", _PACKAGE.parent / "notebooks")  # installed, or a checkout


def find_tutorials() -> list[Path]:
    """The notebooks, by name; the results that they show are in the folder ``results`` beside them.

    Raises
    ------
    FileNotFoundError
        If this installation has no notebooks.
    """
    for place in _PLACES:
        if notebooks := sorted(place.glob("*.ipynb")):
            return notebooks
    raise FileNotFoundError("this installation of difflens_widgets has no tutorial notebooks")


def find_result(name: str) -> Path:
    """A file of results that a tutorial shows: your own in the folder ``results``, else the one of this package.

    So a tutorial that was opened alone finds them too.

    Parameters
    ----------
    name : str
        Such as "emergence.json".

    Raises
    ------
    FileNotFoundError
        If there is no such file; the message names those that there are.
    """
    folders = (find_tutorials()[0].parent / "results", Path("results"))
    there = {path.name: path for folder in folders for path in folder.glob("*")}
    if name not in there:
        raise FileNotFoundError(f"name: no result {name!r}; there are {', '.join(sorted(there))}")
    return there[name]


def copy_tutorials(folder: Path) -> Path:
    """Copy the notebooks to `folder`; a file that exists there is the user's own and is not changed.

    Raises
    ------
    FileNotFoundError
        If this installation has no notebooks.
    """
    notebooks = find_tutorials()
    place = notebooks[0].parent
    for file in (*notebooks, *sorted(place.glob("results/*"))):  # results that the notebooks show
        copy = folder / file.relative_to(place)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copyfile(file, copy)
    return folder
