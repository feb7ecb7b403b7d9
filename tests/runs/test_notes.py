"""What is said of a run besides its pictures."""

from __future__ import annotations

import pytest

from browser import scripted
from difflens_widgets.analysis.comparison.front_end import diff_state
from difflens_widgets.runs.events import Encoded, Message
from difflens_widgets.runs.notes import notes
from difflens_widgets.runs.render.front_end import record_state
from difflens_widgets.runs.render.page.run_views import slider_view
from difflens_widgets.runs.run import LensRun
from difflens_widgets.widgets import LayerSlider

DRAGON = "The model was never trained on “dragon”: what it makes of it means nothing."


def test_each_is_a_line(tmp_path) -> None:
    run = scripted.finished_run()
    assert notes(run) == ""
    run.settings |= {"cut_off": "… and a dog", "unknown_words": ["dragon", "the", "horse"]}
    run.flagged = {3, 1}
    lines = [
        "The text encoder reads 77 tokens; cut off: “… and a dog”.",
        "The model was never trained on “dragon”, “the” and “horse”: what it makes of them means nothing.",
        "blacked out by the safety checker: layer 1, layer 3",
    ]
    assert notes(run).split("\n") == lines
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert record_state(loaded)["notice"] == notes(run)
    run.status = "running"
    assert record_state(run)["notice"].split("\n")[:2] == lines[:2]
    assert slider_view(run).state["notice"].split("\n") == [*lines[:2], "This is what was painted so far."]


@pytest.mark.parametrize("wrong", [None, 3, {}, False])
def test_a_file_may_hold_any_value(wrong) -> None:
    run = scripted.finished_run()
    run.settings |= {"cut_off": wrong, "unknown_words": wrong}
    assert notes(run) == ""


def test_a_running_job_has_them_beside_its_messages() -> None:
    job = scripted.job("a dragon", hold_after=0)
    widget = LayerSlider(job)
    assert widget.notice == ""
    job.run.settings["unknown_words"] = ["dragon"]
    widget._on_event(widget._run, Encoded(None, {}))
    assert widget.notice == DRAGON
    widget._on_event(widget._run, Message("smaller batches"))
    assert widget.notice == f"{DRAGON}\nsmaller batches"
    job.cancel()
    widget.close()


def test_a_comparison_has_those_of_both() -> None:
    comparison = scripted.comparison()
    comparison.raw.settings["unknown_words"] = ["dragon"]
    assert diff_state(comparison)["notice"] == ""  # the tuned model was taught the word
    comparison.tuned.settings["unknown_words"] = ["dragon"]
    assert diff_state(comparison)["notice"] == DRAGON
