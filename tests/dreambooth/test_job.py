"""TrainingJob: one who subscribes late does not hold up the training."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from browser import training
from difflens_widgets.dreambooth.history.events import EpochValidated, LossLogged
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.dreambooth.job import TrainingJob
from difflens_widgets.runs.run import LensRun
from difflens_widgets.widgets import EpochScrubber


@pytest.fixture
def history(tmp_path) -> TrainingHistory:
    """A training with runs on disk, none of them in memory, that goes on."""
    folder = training.finished((0, 50), folder=tmp_path).folder
    history = TrainingHistory.load(folder)
    history.status = "running"
    return history


def test_a_replay_reads_no_file_before_its_run_is_used(history, monkeypatch) -> None:
    job = TrainingJob(history, lambda job: None)
    read = []
    load = LensRun.load
    monkeypatch.setattr(LensRun, "load", lambda path: read.append(path) or load(path))
    events = []
    job.subscribe(events.append)
    validations = [event for event in events if isinstance(event, EpochValidated)]
    assert [(event.epoch, event.validation_prompt) for event in validations] == [
        (e, p) for e in (0, 50) for p in range(3)
    ]
    assert read == []
    assert validations[4].run.prompt == history.validation_prompts[1].prompt
    assert len(read) == 1


def test_a_widget_that_opens_late_does_not_hold_up_the_training(history, monkeypatch) -> None:
    """While it reads a slow file the training logs its next step and adds its next run."""
    go_on, reading = threading.Event(), threading.Event()
    load = LensRun.load

    def slow(path):
        reading.set()
        assert go_on.wait(30)
        return load(path)

    monkeypatch.setattr(LensRun, "load", slow)
    job = TrainingJob(history, lambda job: None)
    run = training.generate(100, 0)
    widget = EpochScrubber(job)
    try:
        assert reading.wait(30)
        done = threading.Event()

        def train() -> None:
            step = int(history.losses["step"][-1]) + 1
            job.emit(LossLogged(step, 100, {"loss": 0.5}))
            history.runs.add(100, 0, run)
            done.set()

        threading.Thread(target=train, daemon=True).start()
        assert done.wait(10)
    finally:
        go_on.set()
        widget.close()


def test_a_damaged_file_is_told_to_the_widget_and_the_others_are_shown(history) -> None:
    (history.folder / "epochs" / "000050" / "prompt_01.lens").write_bytes(b"broken")
    widget = EpochScrubber(TrainingJob(history, lambda job: None))
    try:
        assert widget._task_thread.flush(10)
        assert "prompt_01.lens" in widget.notice
        assert (widget.epochs, len(widget._frames)) == ([0, 50], 5 * 13)
    finally:
        widget.close()


@pytest.mark.parametrize("module", ["job", "config", "history.history", "history.alarms", "history.render"])
def test_it_imports_no_torch(module) -> None:
    code = f"import sys; sys.modules['torch'] = None; import difflens_widgets.dreambooth.{module}"
    subprocess.run([sys.executable, "-c", code], check=True)
