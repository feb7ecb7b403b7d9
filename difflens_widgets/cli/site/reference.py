"""The API reference of the site: what `difflens_widgets` exports, from its docstrings, by pdoc."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

NAME = __name__.split(".")[0]


def write_reference(folder: Path) -> list[Path]:
    """Write one page with all public names; returns the files. It has no search and fetches nothing."""
    import pdoc
    import pdoc.render

    package = import_module(NAME)
    for name in package.__all__:  # they are imported when they are first used; pdoc looks into the module
        setattr(package, name, getattr(package, name))
    pdoc.render.configure(docformat="numpy", show_source=False, search=False)
    pdoc.pdoc(NAME, f"!{NAME}.", output_directory=folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())
