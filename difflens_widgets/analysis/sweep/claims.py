"""Claims of two sweeps on one folder: who takes a unit leaves a file, and the other sweep does that unit last.

No lock, so nothing hangs: the claim of a dead process is void at once, one of another machine after ten minutes without
a sign of life. In the worst case a unit is done twice, with equal results.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

_SILENCE = 600  # seconds without a sign of life from another machine
_REFRESH = 60


class Claims:
    """The claims of this sweep and of others in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "claims"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._mine: set[str] = set()
        self._refreshed = time.monotonic()
        self._me = {"host": socket.gethostname(), "pid": os.getpid()}

    def take(self, unit: str) -> bool:
        """Claim a unit; False if another sweep that is alive has it."""
        path = self._folder / unit
        for _ in range(2):
            try:
                with path.open("x") as file:
                    json.dump(self._me, file)
            except FileExistsError:
                if unit not in self._mine and self._alive(path):
                    return False
                path.unlink(missing_ok=True)
            else:
                self._mine.add(unit)
                return True
        return True  # a third sweep was quicker twice: let both do it

    def release(self, unit: str) -> None:
        """Give a unit back."""
        self._mine.discard(unit)
        (self._folder / unit).unlink(missing_ok=True)

    def release_all(self) -> None:
        """Give all units back."""
        for unit in list(self._mine):
            self.release(unit)
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # if no other sweep has claims

    def refresh(self) -> None:
        """Give a sign of life, at most once a minute."""
        if time.monotonic() - self._refreshed < _REFRESH:
            return
        self._refreshed = time.monotonic()
        for unit in self._mine:
            with contextlib.suppress(OSError):
                os.utime(self._folder / unit)

    def _alive(self, path: Path) -> bool:
        try:
            owner, age = json.loads(path.read_text()), time.time() - path.stat().st_mtime
            if owner["host"] != self._me["host"]:
                return age < _SILENCE
            return owner["pid"] != self._me["pid"] and _process_exists(int(owner["pid"]))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError):  # written at this moment, or damaged
            with contextlib.suppress(OSError):
                return time.time() - path.stat().st_mtime < 5
            return False


def _process_exists(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
