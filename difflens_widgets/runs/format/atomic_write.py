"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; it takes that name when the block ends without an error.

    Whatever goes wrong, a full disk included, the former file stays as it was and nothing else is left behind.

    Parameters
    ----------
    path : Path
        The name to take; a symbolic link is followed, not replaced.
    what : str
        What is being saved, for the error: "the lens run 'a red dog'".

    Raises
    ------
    OSError
        Of the kind the system gave (FileNotFoundError, PermissionError, ...), naming `path` and `what`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}.part")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems tell only now that they are full
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot save {what}: {error.strerror or error}", str(path)) from error
