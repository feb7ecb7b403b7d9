"""What closed widgets leave in memory: no run, no thread, no file that is watched."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from browser import scripted
from difflens_widgets import DiffViewer, EpochScrubber, LayerSlider, TokenAttentionGrid
from difflens_widgets.runs.run import LensRun


def live_runs() -> int:
    gc.collect()
    return sum(issubclass(type(each), LensRun) for each in gc.get_objects())


def widget_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "difflens-widget"]


@pytest.mark.parametrize("source", ["run", "job"])
def test_fifty_closed_widgets_keep_no_run(source) -> None:
    before = live_runs()
    for number in range(50):
        if source == "run":
            shown = scripted.finished_run(f"a cat {number}")
        else:
            shown = scripted.job(f"a cat {number}", seconds=0, batch_size=13)
            shown.result(20)
        widget = LayerSlider(shown)
        widget.close()
        del shown, widget
    deadline = time.monotonic() + 10
    while live_runs() - before > 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # a worker thread may still be about to end
    assert live_runs() - before <= 1


def test_a_widget_that_follows_a_job_to_its_end_lets_go_of_it() -> None:
    before = live_runs()
    for number in range(5):
        job = scripted.job(f"a dog {number}", seconds=0.05, batch_size=13)
        widget = LayerSlider(job)
        job.result(20)
        widget.close()
        del job, widget
    deadline = time.monotonic() + 10
    while (widget_threads() or live_runs() - before > 1) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert live_runs() - before <= 1
    assert widget_threads() == []


@pytest.mark.parametrize("kind", [LayerSlider, TokenAttentionGrid, DiffViewer, EpochScrubber])
def test_the_front_end_travels_as_text(kind) -> None:
    """A path would be watched by anywidget, whose callback would hold every instance of the class."""
    assert type(kind._esm) is str
    assert type(kind._css) is str
    widget = kind()
    assert widget._esm == kind._esm
    assert "export{" in widget._esm
    assert ".dlw-root" in widget._css
    widget.close()
