"""The progress bar: it moves with the steps, and never back."""

from __future__ import annotations

import io
from functools import partial

import pytest
from tqdm import tqdm

from browser import scripted
from difflens_widgets.runs import progress_bar
from difflens_widgets.runs.events import LayerImage, Progress
from difflens_widgets.runs.job import LensJob
from difflens_widgets.runs.progress_bar import painted, with_progress_bar


def test_pictures_that_are_being_painted_count_in_part() -> None:
    assert painted(Progress(0, 13, tuple(range(13)), 10, 20, None)) == 6.5
    assert painted(Progress(8, 13, tuple(range(5)), 0, 20, 1.0, 1, 2, ((0, 3),))) == 9
    assert painted(Progress(8, 13, tuple(range(8)), 20, 20, 1.0)) == 8  # the call is over: they are done


def paint(job: LensJob) -> None:
    """All 13 layers in one call, as a lens with much memory does."""
    layers = job.run.layers
    for step in range(1, 21):
        job.emit(Progress(0, 13, layers, step, 20, None))
    for layer in layers:
        job.emit(LayerImage(layer, scripted.picture(layer)))
    job.emit(Progress(13, 13, layers, 20, 20, 0.0))


def test_the_bar_grows_with_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress_bar, "tqdm", partial(tqdm, file=screen, disable=False, mininterval=0, ncols=80))
    assert with_progress_bar(LensJob(scripted.empty_run("a pink cat"), paint)).status == "done"
    lines = [line for line in screen.getvalue().split("\r") if "%" in line]
    shares = [int(line.partition("%")[0].rpartition(":")[2]) for line in lines]
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    assert shares[-1] == 100
    assert any("all 13 layers at once, step 10 of 20" in line for line in lines)
