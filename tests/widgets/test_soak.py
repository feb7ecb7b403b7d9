"""The soak test of memory: 200 runs, each opened in the widgets, closed and dropped."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from pathlib import Path

import pytest

from browser import scripted, training
from difflens_widgets import DiffViewer, EpochScrubber, LayerSlider, TokenAttentionGrid, TrainingHistory
from difflens_widgets.runs.maps.options import AttentionOptions
from difflens_widgets.runs.run import LensRun

RUNS = 200


def live_runs() -> int:
    gc.collect()
    return sum(issubclass(type(each), LensRun) for each in gc.get_objects())


def resident_mb() -> float:
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps for later is not a leak
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    return 0.0


@pytest.mark.slow
def test_two_hundred_runs_in_all_widgets_leave_nothing(tmp_path) -> None:
    before = live_runs()
    memory: list[float] = []  # MB after 21, 66, ... runs
    history = training.finished(range(3), folder=tmp_path, size=32)
    for number in range(RUNS):
        run = scripted.finished_run(f"a cat {number}", size=32, attention=AttentionOptions())
        shown = [LayerSlider(run), TokenAttentionGrid(run)]
        if number % 10 == 5:
            shown.append(DiffViewer(scripted.comparison(f"a dog {number}", size=32)))
            shown.append(EpochScrubber(TrainingHistory.load(history.folder)))
        if number % 10 == 0:
            job = scripted.job(f"a bird {number}", seconds=0.01, batch_size=13)
            shown.append(LayerSlider(job))
            job.result(20)
            del job
        for widget in shown:
            widget.close()
        del run, shown, widget
        if number % 45 == 20:
            gc.collect()
            memory.append(resident_mb())
    del history
    deadline = time.monotonic() + 10
    while live_runs() - before > 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert live_runs() - before <= 2
    memory.append(resident_mb())
    assert memory[-1] - memory[0] < 60, memory  # one run with maps and frames takes about 1
