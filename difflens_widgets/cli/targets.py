"""Checks where a command will write, before it paints for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..runs.format.atomic_write import require_folder, require_writable


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
