"""A file that the browser uploads: pieces of bytes that become a LensRun."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..runs.run import LensRun

_MOST_BYTES = 1 << 30  # of a file


class Upload:
    """Puts the pieces of a file together: a server drops a connection that sends more than some MB at once."""

    def __init__(self) -> None:
        self._name = ""
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, message: dict[str, Any], buffers: list[Any]) -> tuple[str, bytes] | None:
        """Take one piece; return the name and the content of the file with the last one.

        Raises
        ------
        ValueError
            If a piece is missing, empty, or one too many.
        """
        index, count = message.get("index"), message.get("count")
        if index == 0:
            self._name, self._pieces, self._size = str(message.get("name")), [], 0
        if type(index) is not int or type(count) is not int or index != len(self._pieces) or not buffers:
            self._pieces = []
            raise ValueError("the file did not arrive whole; open it again, or in a cell: show(LensRun.load(path))")
        self._pieces.append(bytes(buffers[0]))
        self._size += len(self._pieces[-1])
        if self._size > _MOST_BYTES:
            self._pieces = []
            raise ValueError("the file has more than 1 GB; open it in a cell: show(LensRun.load(path))")
        if index + 1 < count:
            return None
        content, self._pieces = b"".join(self._pieces), []
        return self._name, content


def read_upload(name: str, content: bytes) -> LensRun:
    """Read the content of a ``.lens`` file, checked as `LensRun.load` does.

    Raises
    ------
    ValueError
        If it is damaged, of a newer version, or no such file; names the file as the user knows it.
    """
    with TemporaryDirectory(prefix="difflens-") as folder:
        path = Path(folder) / "run.lens"
        path.write_bytes(content)
        try:
            return LensRun.load(path)
        except ValueError as error:
            raise ValueError(f"{name}: {str(error).replace(str(path), '').lstrip(': ')}") from error
