"""Generated images by key: the latest ones in memory, and, if the user wants that, on disk. No torch.

`DIFFLENS_CACHE` says where: a folder; "disk", the user's own cache folder of this system; "off", nothing is kept at
all; unset, memory only, because pictures are private and disks are small. `DIFFLENS_CACHE_MB` limits the folder, 1000
by default, and the images that were not used for longest go first. The ready-made caches on disk (diskcache, joblib)
write pickles, which this package never reads; hence this small one.

Every failure of the folder is a line in the log, and the image is generated. Processes may share a folder: a file
appears when it is complete, is checked when it is read, and there are no locks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import sys
import threading
from collections import OrderedDict
from pathlib import Path

from .stored_images import SCHEMA, StoredImage, from_bytes, to_bytes

log = logging.getLogger(__name__)

_MEMORY = 2**28  # bytes
_KEY = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = 3600  # seconds after which the unfinished file of a killed process is removed


class ResultStore:
    """Images by key, in memory and in a folder.

    Parameters
    ----------
    folder : Path or None
        None: memory only.
    limit : int
        Bytes in the folder.
    memory : int
        Bytes in memory.
    """

    def __init__(self, folder: Path | None = None, limit: int = 10**9, memory: int = _MEMORY) -> None:
        self.folder = None if folder is None else folder / f"v{SCHEMA}"
        self._limit, self._memory = limit, memory
        self._images: OrderedDict[str, StoredImage] = OrderedDict()
        self._nbytes = 0
        self._on_disk: int | None = None  # bytes, known after the first write
        self._lock = threading.Lock()

    def get(self, key: str) -> StoredImage | None:
        """A copy of the image of a key, or None."""
        stored = self._find(key)
        return None if stored is None else stored.copy()

    def put(self, key: str, stored: StoredImage) -> None:
        """Keep an image; what is known of the same image already stays known."""
        known = self._find(key)
        stored = stored.copy() if known is None else known.with_more_of(stored.copy())
        self._keep(key, stored)
        self._write(key, stored)

    def clear(self) -> None:
        """Forget the images in memory; the folder stays as it is."""
        with self._lock:
            self._images.clear()
            self._nbytes = 0

    def _find(self, key: str) -> StoredImage | None:
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        stored = self._read(key)
        if stored is not None:
            self._keep(key, stored)
        return stored

    def _keep(self, key: str, stored: StoredImage) -> None:
        with self._lock:
            old = self._images.pop(key, None)
            self._nbytes += stored.nbytes - (old.nbytes if old else 0)
            self._images[key] = stored
            while self._nbytes > self._memory:
                self._nbytes -= self._images.popitem(last=False)[1].nbytes

    def _path(self, folder: Path, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key: expected 64 hexadecimal digits, got {key!r}")
        return folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> StoredImage | None:
        if self.folder is None:
            return None
        path = self._path(self.folder, key)
        try:
            stored = from_bytes(path.read_bytes(), key)
            os.utime(path)  # it was used now
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            log.warning("%s: the cache is not used any more: %s", self.folder, error)
            self.folder = None
            return None
        except (ValueError, KeyError) as error:
            log.warning("%s: this file of the cache is removed: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return stored

    def _write(self, key: str, stored: StoredImage) -> None:
        if self.folder is None:
            return
        path = self._path(self.folder, key)
        temporary = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            data = to_bytes(stored, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            self._make_room(self.folder, len(data))
        except (OSError, ValueError) as error:
            log.warning("%s: the cache is not written to any more: %s", self.folder, error)
            self.folder = None

    def _make_room(self, folder: Path, written: int) -> None:
        """Remove the images that were not used for longest, if the folder is above its limit."""
        if self._on_disk is not None:
            self._on_disk += written
            if self._on_disk <= self._limit:
                return
        files = []
        for path in folder.glob("*/*"):
            with contextlib.suppress(OSError):  # another process removed it
                about = path.stat()
                files.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in files)
        now = max((used for used, _, _ in files), default=0.0)
        for used, size, path in sorted(files):
            leftover = path.suffix == ".part" and used < now - _LEFTOVER
            if leftover or total > 0.9 * self._limit:
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size
        self._on_disk = total


def user_cache_folder() -> Path:
    """The folder for this package in the user's cache folder of this system."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "difflens_widgets"


_STORES: dict[tuple[str, str], ResultStore | None] = {}
_GUARD = threading.Lock()


def result_store() -> ResultStore | None:
    """The store that `DIFFLENS_CACHE` asks for; None if it is "off"."""
    asked = os.environ.get("DIFFLENS_CACHE", ""), os.environ.get("DIFFLENS_CACHE_MB", "")
    with _GUARD:
        if asked not in _STORES:
            _STORES[asked] = _opened(*asked)
        return _STORES[asked]


def _opened(where: str, megabytes: str) -> ResultStore | None:
    if where.lower() in ("off", "0", "no", "false"):
        return None
    try:
        limit = int(megabytes or 1000) * 10**6
    except ValueError:
        log.warning("DIFFLENS_CACHE_MB: expected a whole number, got %r; 1000 it is", megabytes)
        limit = 10**9
    if not where:
        return ResultStore()
    folder = user_cache_folder() if where.lower() in ("disk", "on", "1", "yes", "true") else Path(where).expanduser()
    return ResultStore(folder, limit)
