"""`difflens bench channel` without a browser: what it refuses, and the kernel's half."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import pytest

from difflens_widgets.cli import commands as cli
from difflens_widgets.cli.bench_channel import in_kernel
from difflens_widgets.runs.render.encoding import encode_final


@pytest.mark.parametrize("package", ["playwright", "jupyterlab"])
def test_a_missing_package_is_named_with_its_command(package, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["bench", "channel"]) == 2
    assert f"drives JupyterLab in a browser: pip install {package}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no browser was found: install Chromium or Chrome"),
        (["--minutes", "0"], "--minutes: 0.0 must be more than 0"),
        (["--minutes", "nan"], "--minutes: nan must be more than 0"),
        (["--repeats", "0"], "repeats: 0 must be at least 1"),
        (["--model", "tiny"], "--model: only `difflens bench lens` or `difflens bench attention` or"),
    ],
    ids=str,
)
def test_what_cannot_work_is_one_line(arguments, message, monkeypatch, tmp_path, capsys) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["bench", "channel", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_pictures_are_photographs_that_differ() -> None:
    """A drawing takes a tenth of a photograph's bytes, and would say nothing about the size of a frame."""
    pictures = [in_kernel.picture(layer) for layer in (0, 6, 12)]
    assert {image.size for image in pictures} == {(512, 512)}
    assert all(15_000 < len(encode_final(image)[1]) < 60_000 for image in pictures)
    assert all(a.tobytes() != b.tobytes() for a, b in pairwise(pictures))
    assert in_kernel.picture(3, 0.5).tobytes() != in_kernel.picture(3).tobytes() != in_kernel.picture(3, epoch=1)


def test_the_kernels_half_counts_what_it_sent(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"LAYERS": 2, "STEPS": 3, "EPOCHS": 2, "_PAUSE": 0}.items():
        monkeypatch.setattr(in_kernel, name, value)
    slider = in_kernel.run_slider()
    try:
        slider._job.result(60) if slider._job else None
        assert slider._task_thread.flush(60)
        in_kernel._write_figures(slider)
        found = json.loads((tmp_path / in_kernel.FIGURES).read_text("utf-8"))
        assert found["status"] == "done"
        assert found["previews"] == 4
        assert 0 <= found["previews_sent"] <= found["frames"] <= 4 + 2 * 3 + 2
        assert len(found["finished"]) == 2
        assert found["bytes_at_end"] == sum(len(frame["data"]) for frame in slider._frames.values())
        assert len(slider._frames) == 2 * 3 + 2
    finally:
        slider.close()
    scrubber = in_kernel.scrubber()
    assert (scrubber.epochs, len(scrubber._frames), scrubber.status) == ([0, 1], 4, "done")
    scrubber.close()
