"""`difflens bench sweep` and `difflens bench dreambooth --lens`: what they refuse, and small ones in full."""

from __future__ import annotations

import sys

import pytest

from difflens_widgets.cli import commands as cli
from difflens_widgets.cli.bench_dreambooth_lens import bench_dreambooth_lens
from difflens_widgets.cli.bench_sweep import _captions, bench_sweep


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "--units", "0"], "--units: 0 must be at least 1"),
        (["sweep", "--workers", "0"], "--workers: 0 must be at least 1"),
        (["sweep", "--model", "sd15-random"], "--model: sd15-random has no files"),
        (["dreambooth", "--lens", "--validations", "1"], "--validations: 1 must be at least 2"),
        (["dreambooth", "--validations", "3"], "only `difflens bench dreambooth --lens` takes them"),
        (["lens", "--lens"], "--lens: only `difflens bench dreambooth` trains with the lens"),
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_one_line(arguments, message, capsys) -> None:
    assert cli.main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_dask_it_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.main(["bench", "sweep", "--units", "1"]) == 2
    assert 'runs a sweep on Dask: pip install "difflens_widgets[sweep]"' in capsys.readouterr().err


def test_the_prompts_differ() -> None:
    captions = _captions(210)
    assert len(set(captions)) == len(captions) == 210
    assert _captions(200) == captions[:200]


@pytest.mark.slow
def test_a_small_sweep() -> None:
    pytest.importorskip("distributed")
    rows = {row.name: row for row in bench_sweep("tiny", 1, "cpu", units=2, workers=1)}
    here, there = (rows[name].values[0] for name in ("in this process", "on Dask"))
    assert rows["speed-up"].values == [pytest.approx(here / there)]
    assert rows["largest pixel difference"].values[0] <= 1


@pytest.mark.slow
def test_a_small_training_takes_the_untrained_models_pictures_from_the_cache() -> None:
    rows = {row.name: row for row in bench_dreambooth_lens("tiny", 1, 1, validations=2, class_images=2)}
    assert rows["training"].figures == {"validations": 2, "prompts": 5, "layers": 13, "images": 130}
    taken = rows["images of the lens that came from the cache"].figures
    assert (taken["no cache"], taken["filled cache"]) == (0, 65)
    assert rows["largest pixel difference at epoch 0"].values == [0]
    assert rows["speed-up, filled cache"].values[0] > 0
