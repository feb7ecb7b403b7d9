"""Writes files that get their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; it replaces `path` when the block ends without an error.

    After any error, such as a full disk, the existing file is unchanged and the temporary file is removed.

    Parameters
    ----------
    path : Path
        The final name; a symbolic link is followed, not replaced.
    what : str
        The content, for error messages, such as "the lens run 'a red dog'".

    Raises
    ------
    OSError
        The system's error (FileNotFoundError, PermissionError, ...); the message names `path` and `what`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}.part")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems report only now that they are full
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot save {what}: {error.strerror or error}", str(path)) from error
