"""`difflens view`: what it opens, and what it says where it cannot."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from browser import training
from difflens_widgets import cli
from difflens_widgets.cli import view
from drawn_comparisons import drawn_comparison
from drawn_runs import drawn_run
from written_pages import data_of


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The addresses that a browser was asked to open."""
    addresses: list[str] = []
    monkeypatch.setenv("BROWSER", "a-browser")
    monkeypatch.setattr(view.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(view.webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


def test_a_run_opens_in_the_browser(tmp_path: Path, opened: list[str], capsys) -> None:
    assert cli.main(["view", str(drawn_run(depth=2).save(tmp_path / "cat.lens"))]) == 0
    page = tmp_path / "cat.html"
    assert opened == [page.resolve().as_uri()]
    assert capsys.readouterr().out.splitlines() == [str(page.resolve())]
    assert data_of(page)["views"][0]["state"]["layers"] == [0, 1]


def test_the_folder_of_a_command_opens_too(tmp_path: Path, opened: list[str]) -> None:
    for name, record in (("run.lens", drawn_run(depth=2)), ("comparison.lenses", drawn_comparison())):
        folder = tmp_path / Path(name).stem
        folder.mkdir()
        record.save(folder / name)
        assert cli.main(["view", str(folder)]) == 0
    assert opened == [(tmp_path / f"{name}.html").resolve().as_uri() for name in ("run", "comparison")]


def test_several_are_one_page(tmp_path: Path, opened: list[str]) -> None:
    run = drawn_run(depth=2).save(tmp_path / "cat.lens")
    comparison = drawn_comparison().save(tmp_path / "tuned.lenses")
    folder = training.finished((0, 50), folder=tmp_path / "dog").folder
    page = tmp_path / "all.html"
    assert cli.main(["view", *map(str, (run, comparison, folder)), "--html", str(page), "--max-bytes", "400000"]) == 0
    assert [each["module"] for each in data_of(page)["views"]] == ["layer_slider", "diff_viewer", "epoch_scrubber"]
    assert page.stat().st_size <= 400_000
    assert len(opened) == 1


@pytest.mark.parametrize("reason", ["no screen", "no browser"])
def test_without_a_browser_the_path_is_told(
    reason: str, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    if reason == "no screen":
        monkeypatch.setattr(view.sys, "platform", "linux")
        for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setattr(view.webbrowser, "open", lambda address: False)
    assert cli.main(["view", str(drawn_run(depth=1).save(tmp_path / "cat.lens"))]) == 0
    path, hint = capsys.readouterr().out.splitlines()
    assert Path(path).is_file()
    assert hint == "no browser was found here: open this file in one, it needs no network"
    assert opened == []


def newer(path: Path) -> Path:
    """The same file as a later version would write it."""
    copy = path.with_name(f"newer{path.suffix}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "run.json":
                data = json.dumps({**json.loads(data), "version": [9, 0]}).encode()
            new.writestr(name, data)
    return copy


def test_clear_words_for_what_cannot_be_shown(tmp_path: Path, opened: list[str], capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    history = training.finished((0,), folder=tmp_path / "dog").folder
    later = shutil.copytree(history, tmp_path / "later")
    record = json.loads((later / "training.json").read_text())
    (later / "training.json").write_text(json.dumps({**record, "version": [9, 0]}))
    cases = {
        newer(drawn_run(depth=1).save(tmp_path / "cat.lens")): "a newer difflens_widgets is needed",
        later: "a later version needs a newer difflens_widgets",
        tmp_path / "empty": "holds no training: there is no training.json",
        tmp_path / "sweep": "a sweep has no page; see its plot.png",
        tmp_path / "notes.txt": "a .lenses file (a comparison) or a folder of a training",
        tmp_path / "nowhere.lens": "there is no such file or folder",
    }
    for path, words in cases.items():
        assert cli.main(["view", str(path)]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert path.name in told
    assert opened == []
