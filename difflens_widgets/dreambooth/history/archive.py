"""A training history as one zip, and back into a folder; nothing of a zip is used before it was checked."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...runs.format import zip_archive as _archive
from ...runs.format.atomic_write import replacing
from . import files as files

_PART = r"[A-Za-z0-9_-]{1,80}(\.[A-Za-z0-9_-]{1,40}){0,4}"  # of a path: no "..", and nothing hidden
_RECORD = rf"(training|status|alarms)\.json|losses\.jsonl|{files.EPOCHS}/[0-9]{{6,9}}/(prompt|probe)_[0-9]{{2}}\.lens"
_WEIGHTS = (
    rf"{files.EPOCHS}/[0-9]{{6,9}}/weights/({_PART}/){{0,3}}[A-Za-z0-9_.-]{{0,120}}[A-Za-z0-9_-]\.(json|safetensors)"
)
_NAMES = re.compile(f"{_RECORD}|{_WEIGHTS}")
_HIDDEN = re.compile(r"(^|/)\.|\.\.")


def save(folder: Path, path: Path, *, weights: bool) -> Path:
    """Write all the files that `history.files` lists; checkpoints and other files of the trainer are left out.

    Raises
    ------
    ValueError
        If there is more than 4 GB.
    OSError
        If it cannot be written; a file that was there before is untouched.
    """
    try:
        with replacing(path, f"the training in {folder}") as file:
            _archive.write(file, _entries(folder, weights))
    except ValueError as error:
        hint = "; weights=False leaves the trained weights out" if weights else ""
        raise ValueError(f"{path}: cannot save the training in {folder}: {error}{hint}") from error
    return path


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip into a new or empty folder; after an error the folder is as it was.

    Raises
    ------
    ValueError
        If the file is damaged or holds anything that `save` never writes, or the folder is in use.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder: {folder} exists and is not empty; give a new or empty one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.with_name(f".{folder.name[:40]}-{secrets.token_hex(4)}.part")
    try:
        with path.open("rb") as file:
            archive = _archive.Archive(file, _NAMES, "training history")
            if files.TRAINING not in archive.names:
                raise ValueError(f"entry {files.TRAINING!r} is missing: this is no training history")
            for name in sorted(archive.names):
                if _HIDDEN.search(name):
                    raise ValueError(f"entry {name[:80]!r} has a name that a training history never has")
                target = work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name, _archive.MAX_BYTES))
        if folder.exists():
            folder.rmdir()
        os.replace(work, folder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _entries(folder: Path, weights: bool) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        known = _NAMES.fullmatch(name) and not _HIDDEN.search(name)
        if known and file.is_file() and (weights or "/weights/" not in name):
            yield name, file.read_bytes()
