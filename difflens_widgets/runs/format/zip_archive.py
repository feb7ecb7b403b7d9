"""Reads untrusted zip files: everything that the directory declares is checked before anything is unpacked.

A file is refused, with a ValueError that gives the reason, if it is truncated or damaged, if the name of an entry could
lead out of a folder, if an entry is a link, a duplicate or encrypted, and if it declares or unpacks to more than the
reader allows.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO

MAX_ENTRIES = 65_000
MAX_BYTES = 2**32 - 1
"""The limit of a plain zip; for the file, and for all its entries unpacked."""

_END = struct.Struct(
    "<4s4H2LH"
)  # the end record: signature, disks, entries (twice), directory's size and offset, comment
_ZIP64_LOCATOR_SIZE = 20
_LOCAL_HEADER_SIZE = 30
_MAX_DIRECTORY_BYTES = MAX_ENTRIES * 128
_PLAIN_FLAGS = 0x0002 | 0x0004 | 0x0008 | 0x0800  # deflate's level, sizes after the data, names in UTF-8
_MAX_EXPANSION = 64  # JSON shrinks to 1/10, hidden states hardly at all, zeros to 1/1000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, UnicodeError)


class Archive:
    """A zip whose directory has passed all checks.

    Parameters
    ----------
    file : binary file
        Open for reading; stays open.
    names : compiled pattern
        Must match the whole name of every entry. It must not allow "..", absolute names or folders.
    what : str
        The name of this kind of file in errors.

    Raises
    ------
    ValueError
        If the file is not such a zip; gives the reason.
    """

    def __init__(self, file: BinaryIO, names: re.Pattern[str], what: str = ".lens file") -> None:
        directory = _check_frame(file, what)
        try:
            self._zip = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise ValueError(f"the zip directory is damaged: {error}") from error
        self._entries = self._zip.infolist()
        for info in self._entries:
            _check_entry(info, names, directory, what)
        self._by_name = {info.orig_filename: info for info in self._entries}
        if len(self._by_name) < len(self._entries):
            twice = next(i.orig_filename for i in self._entries if self._by_name[i.orig_filename] is not i)
            raise ValueError(f"entry {twice!r} is there more than once")
        total = sum(info.file_size for info in self._entries)
        if total > MAX_BYTES:
            raise ValueError(f"its entries declare {total:,} bytes unpacked, at most {MAX_BYTES:,} are allowed")

    @property
    def names(self) -> set[str]:
        """The names of all entries."""
        return set(self._by_name)

    def read(self, name: str, limit: int) -> bytes:
        """Unpack one entry of at most `limit` bytes.

        Raises
        ------
        ValueError
            If the entry is missing, declares more than `limit` bytes, or unpacks to another size than declared.
        """
        info = self._by_name.get(name)
        if info is None:
            raise ValueError(f"entry {name!r} is missing")
        if info.file_size > limit:
            raise ValueError(f"entry {name!r} declares {info.file_size:,} bytes, at most {limit:,} are expected")
        try:
            with self._zip.open(info) as stream:
                data = stream.read(info.file_size + 1)  # a limit, whatever the compressed bytes contain
        except _DAMAGE as error:
            raise ValueError(f"entry {name!r} is damaged: {error}") from error
        if len(data) != info.file_size:  # zipfile has checked the checksum
            raise ValueError(f"entry {name!r} is damaged: {len(data):,} bytes of {info.file_size:,} came out")
        return data


def write(file: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip that `Archive` reads. Entries are not compressed; equal entries give equal files.

    Raises
    ------
    ValueError
        If there is more than a plain zip can hold.
    """
    try:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name, data in entries:
                info = zipfile.ZipInfo(name)  # dated 1980, so that the bytes do not depend on the time
                info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, data)
    except zipfile.LargeZipFile as error:
        raise ValueError(f"there is too much for one file: at most {MAX_BYTES:,} bytes fit") from error


def _check_frame(file: BinaryIO, what: str) -> int:
    """Check the start and the end of the file; return the offset of its directory."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise ValueError("the file is empty")
    if size > MAX_BYTES:
        raise ValueError(f"the file has {size:,} bytes, at most {MAX_BYTES:,} are allowed")
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise ValueError(f"this is not a zip file, as every {what} is")
    file.seek(max(0, size - _END.size - _ZIP64_LOCATOR_SIZE))
    tail = file.read()
    if len(tail) < _END.size or not tail[-_END.size :].startswith(b"PK\x05\x06"):
        raise ValueError("the file is truncated: the directory at its end is missing")
    _, disk, first_disk, on_disk, entries, length, offset, comment = _END.unpack(tail[-_END.size :])
    if disk or first_disk or on_disk != entries or comment or tail.startswith(b"PK\x06\x07"):
        raise ValueError(f"the zip directory has parts that a {what} never has")
    if entries > MAX_ENTRIES or length > _MAX_DIRECTORY_BYTES:
        raise ValueError(f"it lists {entries:,} entries in {length:,} bytes, at most {MAX_ENTRIES:,} are allowed")
    if offset + length + _END.size != size:
        raise ValueError("the zip directory is damaged: it is not where the file says it is")
    return offset


def _check_entry(info: zipfile.ZipInfo, names: re.Pattern[str], directory: int, what: str) -> None:
    name = info.orig_filename  # the name in the file: `filename` is cut at a zero byte
    if not names.fullmatch(name):
        raise ValueError(f"entry {name[:80]!r} has a name that a {what} never has")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.external_attr & 0x10:
        raise ValueError(f"entry {name!r} is a link or a folder, not a plain file")
    if info.flag_bits & 1:
        raise ValueError(f"entry {name!r} is encrypted")
    if info.compress_type not in _METHODS or info.flag_bits & ~_PLAIN_FLAGS:
        raise ValueError(f"entry {name!r} is compressed in a way that is not known here")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise ValueError(f"entry {name!r} is damaged: it declares two different sizes")
    if info.file_size > _MAX_EXPANSION * info.compress_size + 65_536:
        raise ValueError(f"entry {name!r} would unpack to more than {_MAX_EXPANSION} times its size")
    # also for huge zip64 offsets, where seek itself would fail
    if info.header_offset + _LOCAL_HEADER_SIZE + info.compress_size > directory:
        raise ValueError(f"entry {name!r} is damaged: it would reach beyond the end of the data")
