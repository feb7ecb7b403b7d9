"""Where a command writes: checked before it paints for minutes, and cleared of the pictures of a former call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..runs.format.atomic_write import require_folder, require_writable

RUN_FILE, COMPARISON_FILE = "run.lens", "comparison.lenses"
"""The records in the folders that commands write."""
PAGE_HELP = "write one self-contained page with the slider (without --out: difflens-{}.html, which is replaced)"
_PICTURE = re.compile(r"unchanged\.png|layer_\d{3}(_token_\d{3}|_row_\d{2}|_(raw|tuned)(-raw|-tuned)?)?\.png")


def page_of(command: str, out: Path | None, html: Path | None) -> Path | None:
    """The page that a command writes; where neither a folder nor a page is asked for, one in the working folder."""
    return html if html or out else Path(f"difflens-{command}.html")


def remove_pictures(folder: Path, record: str) -> None:
    """Remove the pictures of an earlier call whose `record` is in the folder too, and is about to be replaced."""
    if (folder / record).exists():
        for path in folder.iterdir():
            if _PICTURE.fullmatch(path.name):
                path.unlink()


def check_targets(folder: Path | None, names: Sequence[str], file: Path | None = None) -> None:
    """Refuse an output folder, or files of these names in it, or a single file, that cannot be written.

    Raises
    ------
    OSError
        The message names the path and the reason.
    """
    if folder is not None:
        require_folder(folder, "the pictures")
        for name in names:
            if (folder / name).exists():
                require_writable(folder / name, name)
    if file is not None:
        require_writable(file, "the page")
