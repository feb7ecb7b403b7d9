"""Broken and hostile .lens files are refused with the file's name and the reason, before anything is unpacked."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from difflens_widgets.runs.format import zip_archive as _archive
from difflens_widgets.runs.run import LensRun
from drawn_runs import assert_same, drawn_run
from lens_archives import pack, refused, rewrite, unpack


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return drawn_run(depth=3).save(tmp_path / "demo.lens")


def test_a_missing_file_and_a_folder_fail_as_usual(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LensRun.load(tmp_path / "none.lens")
    with pytest.raises(OSError, match="directory"):
        LensRun.load(tmp_path)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.lens")
    refused(tmp_path / "pipe.lens", "not a file")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a zip file"),
        (b"PK\x03\x04", "truncated"),
        (b"PK\x03\x04" + bytes(10_000), "truncated"),
        (b"PK\x05\x06" + bytes(18), "not a zip file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.lens"
    path.write_bytes(data)
    refused(path, reason)


def test_a_truncated_file_is_called_truncated(saved: Path) -> None:
    data = saved.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 100):
        saved.write_bytes(data[:length])
        refused(saved, "the file is truncated")


def test_bytes_before_the_zip_are_refused(saved: Path) -> None:
    saved.write_bytes(b"PK\x03\x04 and a second file" + saved.read_bytes())
    refused(saved, "directory is damaged: it is not where")


@pytest.mark.parametrize(
    "name",
    ["../x.webp", "/etc/passwd", "images/../../x.webp", "C:\\x.webp", "images\\0.webp", "images/a/b.webp", "images/",
     "IMAGES/0.webp", "images/0.webp ", ".webp", "x.py", "x" * 500 + ".webp", "images/٣.webp"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(saved: Path, name: str) -> None:
    rewrite(saved, lambda entries: entries.update({name: b"x"}))
    message = refused(saved, "has a name that a .lens file never has")
    assert repr(name[:80]) in message
    assert not (saved.parent.parent / "x.webp").exists()


def test_the_name_in_the_message_is_short_and_escaped(saved: Path) -> None:
    rewrite(saved, lambda entries: entries.update({"evil\x1b[31m" + "y" * 500: b""}))
    message = refused(saved, "never has")
    assert "\x1b" not in message
    assert len(message) < 300 + len(str(saved))


def test_a_name_cut_by_a_zero_byte_is_refused(saved: Path) -> None:
    rewrite(saved, lambda entries: entries.update({"imagesX9.webp": b""}))
    saved.write_bytes(saved.read_bytes().replace(b"imagesX9.webp", b"run.json\0webp"))
    refused(saved, "never has")


def test_an_entry_that_is_there_twice_is_refused(saved: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("run.json", b"{}")
    refused(saved, "'run.json' is there more than once")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO])
def test_links_and_folders_are_refused(saved: Path, kind: int) -> None:
    info = zipfile.ZipInfo("images/9.webp")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(saved, "'images/9.webp' is a link or a folder")


def test_an_entry_that_no_run_names_is_refused(saved: Path) -> None:
    rewrite(saved, lambda entries: entries.update({"images/9.webp": b"x"}))
    refused(saved, "entry 'images/9.webp' is not part of its run")


@pytest.mark.parametrize(
    "name", ["run.json", "images/1.webp", "snapshots/0-2.webp", "states.safetensors", "latents.safetensors"]
)
def test_a_missing_entry_is_named(saved: Path, name: str) -> None:
    rewrite(saved, lambda entries: entries.pop(name))
    refused(saved, f"entry '{name}' is missing")


@contextlib.contextmanager
def at_most_bytes(limit: int) -> Iterator[None]:
    """What is done inside never holds more memory than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_without_being_inflated(saved: Path) -> None:
    """A quarter of a gigabyte of zeros in a quarter of a megabyte."""
    entries = unpack(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in entries:
            if name != "states.safetensors":
                archive.writestr(name, entries[name])
        with archive.open("states.safetensors", "w") as stream:
            for _ in range(256):
                stream.write(bytes(2**20))
    assert saved.stat().st_size < 2**20
    with at_most_bytes(2**22):
        refused(saved, "'states.safetensors' would unpack to more than 64 times its size")


def test_a_bomb_that_lies_about_its_size_is_not_inflated(saved: Path) -> None:
    """The directory says 1,000 bytes, the data inflates to 64 MiB: no more than the 1,000 are unpacked."""
    entries = unpack(saved)
    entries["run.json"] = bytes(2**26)
    pack(saved, entries, zipfile.ZIP_DEFLATED)
    data = bytearray(saved.read_bytes())
    sizes = struct.pack("<L", 2**26)
    position = data.find(sizes)
    while position >= 0:  # in the local header and in the directory
        data[position : position + 4] = struct.pack("<L", 1_000)
        position = data.find(sizes, position)
    saved.write_bytes(data)
    with at_most_bytes(2**22):
        refused(saved, "'run.json' is damaged")


def test_an_entry_larger_than_its_picture_needs_is_refused(saved: Path) -> None:
    rewrite(saved, lambda entries: entries.update({"images/0.webp": os.urandom(100_000)}))
    refused(saved, r"'images/0.webp' declares 100,000 bytes, at most 81,920 are expected")


def test_entries_that_declare_too_much_together_are_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = unpack(saved)
    entries["run.json"] = entries["run.json"].replace(b"\n", b"\n" + b" " * 100)
    pack(saved, entries, zipfile.ZIP_DEFLATED)
    limit = saved.stat().st_size + 1_000  # the file itself may stay
    monkeypatch.setattr(_archive, "MAX_BYTES", limit)
    refused(saved, f"its entries declare .* bytes unpacked, at most {limit:,} are allowed")


def test_an_entry_shorter_than_it_declares_is_refused(saved: Path) -> None:
    pack(saved, unpack(saved), zipfile.ZIP_DEFLATED)
    data = bytearray(saved.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the size of run.json in the directory
    size = int.from_bytes(data[at : at + 4], "little")
    data[at : at + 4] = struct.pack("<L", size + 1)
    saved.write_bytes(data)
    refused(saved, f"'run.json' is damaged: {size:,} bytes of {size + 1:,} came out")


def test_an_entry_beyond_the_end_of_the_world_is_refused(saved: Path) -> None:
    """A zip64 field may hold an offset at which no file can be read."""
    data = saved.read_bytes()
    at, end = data.index(b"PK\x01\x02"), len(data) - 22
    field = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    first = bytearray(data[at : at + 46 + len("run.json")])
    first[30:32], first[42:46] = struct.pack("<H", len(field)), b"\xff" * 4
    directory = bytes(first) + field + data[at + len(first) : end]
    tail = data[end : end + 12] + struct.pack("<LLH", len(directory), at, 0)
    saved.write_bytes(data[:at] + directory + tail)
    refused(saved, "'run.json' is damaged: it would reach beyond the end of the data")


def test_too_many_entries_are_refused_before_they_are_listed(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-14:-10] = struct.pack("<HH", 65_500, 65_500)
    saved.write_bytes(data)
    refused(saved, "lists 65,500 entries")


def test_zip64_and_comments_are_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.comment = b"hello"
    refused(saved, "truncated")


def test_encrypted_and_unknown_methods_are_refused(saved: Path) -> None:
    data = saved.read_bytes()
    at = data.index(b"PK\x01\x02")
    saved.write_bytes(data[: at + 8] + b"\x01\x00" + data[at + 10 :])
    refused(saved, "is encrypted")
    saved.write_bytes(data[: at + 10] + b"\x63\x00" + data[at + 12 :])
    refused(saved, "is compressed in a way that is not known")
    pack(saved, unpack(io.BytesIO(data)), zipfile.ZIP_BZIP2)
    refused(saved, "is compressed in a way that is not known")


def test_a_file_packed_again_with_deflate_is_read(tmp_path: Path) -> None:
    run = drawn_run(depth=2)
    path = run.save(tmp_path / "a.lens")
    assert_same(LensRun.load(pack(path, unpack(path), zipfile.ZIP_DEFLATED)), run)
