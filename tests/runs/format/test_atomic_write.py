"""Writing over what is no plain file, or is protected (T8)."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from difflens_widgets.cli import commands
from difflens_widgets.runs.format.atomic_write import replacing, require_writable
from drawn_runs import drawn_run


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def folder(path: Path) -> None:
    path.mkdir()


def protected(path: Path) -> None:
    path.write_bytes(b"mine")
    path.chmod(0o444)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("make", [fifo, unix_socket, folder, protected, link_to_a_device])
@pytest.mark.parametrize("method", ["save", "to_gif", "to_html"])
def test_it_stays_what_it_is(tmp_path, monkeypatch, make, method) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("a.lens")
    make(path)
    before = os.lstat(path)
    with pytest.raises(OSError, match=r"cannot save .*: '?a\.lens|cannot save .*"):
        getattr(drawn_run(), method)(path)
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert not [each for each in Path().iterdir() if each.name.startswith(".")]


def test_the_null_device_is_refused() -> None:
    """As root it would be replaced by a file. (Not `save`: a test that fails must not do that.)"""
    with pytest.raises(OSError, match="a device, a pipe or a socket"):
        require_writable(Path("/dev/null"), "a run")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755])
def test_the_permissions_stay(tmp_path, mode) -> None:
    path = tmp_path / "a.lens"
    path.write_bytes(b"old")
    path.chmod(mode)
    drawn_run().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_usual_permissions(tmp_path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    with replacing(tmp_path / "a", "a file") as file:
        file.write(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("option", "make"),
    [("--out", protected), ("--html", protected), ("--html", folder), ("--html", fifo)],
)
def test_the_command_looks_before_it_paints(tmp_path, capsys, option, make) -> None:
    """The model does not even exist: it would be the next error."""
    target = tmp_path / "target"
    make(target)
    assert commands.main(["lens", "a dog", "--model", str(tmp_path / "no-model"), option, str(target)]) == 2
    error = capsys.readouterr().err
    assert str(target) in error
    assert "no-model" not in error


def test_a_missing_folder_of_the_page(tmp_path, capsys) -> None:
    page = tmp_path / "missing" / "page.html"
    assert commands.main(["demo", "--html", str(page)]) == 2
    assert "No such file or directory" in capsys.readouterr().err
    out = tmp_path / "new" / "folder"
    assert commands.main(["compare", "./no-model", "x", "a dog", "--out", str(out)]) == 2  # it can be made
    assert "no-model" in capsys.readouterr().err
    assert not out.exists()
