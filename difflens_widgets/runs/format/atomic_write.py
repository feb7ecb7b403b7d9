"""Writes files that get their name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; it replaces `path` when the block ends without an error.

    After any error, such as a full disk, the existing file is unchanged and the temporary file is removed. The new file
    has the permissions of the one that it replaces.

    Parameters
    ----------
    path : Path
        The final name; a symbolic link is followed, not replaced.
    what : str
        The content, for error messages, such as "the lens run 'a red dog'".

    Raises
    ------
    OSError
        The system's error (FileNotFoundError, PermissionError, ...); the message names `path` and `what`. Also if
        `path` is a device, a pipe or a socket, or a write-protected file.
    """
    require_writable(path, what)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}.part")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems report only now that they are full
            _copy_permissions(target, temporary)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise OSError(error.errno, f"cannot save {what}: {error.strerror or error}", str(path)) from error


def require_writable(path: Path, what: str) -> None:
    """Check that `replacing` can write a file there; call it before long work. Nothing is written.

    Raises
    ------
    OSError
        As `replacing`.
    """
    target = Path(os.path.realpath(path))
    number, reason = 0, ""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        require_folder(target.parent, what, shown=path, create=False)
        return
    except OSError as error:
        raise OSError(error.errno, f"cannot save {what}: {error.strerror}", str(path)) from error
    if stat.S_ISDIR(mode):
        number, reason = errno.EISDIR, os.strerror(errno.EISDIR)
    elif not stat.S_ISREG(mode):
        number, reason = errno.EINVAL, "this is a device, a pipe or a socket, and only files are written"
    elif not mode & 0o222 or not os.access(target, os.W_OK):  # root may write it all the same
        number, reason = errno.EACCES, "the file there is write-protected"
    if number:
        raise OSError(number, f"cannot save {what}: {reason}", str(path))
    require_folder(target.parent, what, shown=path, create=False)


def require_folder(folder: Path, what: str, *, shown: Path | None = None, create: bool = True) -> None:
    """Check that files can be written into a folder, or with `create` that it can be made. Nothing is written.

    Raises
    ------
    OSError
        If not; the message names `shown`, or the folder.
    """
    there = folder
    while create and not there.exists() and there != there.parent:
        there = there.parent
    number = 0
    if not there.exists():
        number = errno.ENOENT
    elif not there.is_dir():
        number = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, f"cannot save {what}: {os.strerror(number)}", str(shown or folder))


def _copy_permissions(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # there may be no such file, or the owner is another user
        before = source.stat()
        target.chmod(stat.S_IMODE(before.st_mode))
        if hasattr(os, "chown"):
            os.chown(target, before.st_uid, before.st_gid)
