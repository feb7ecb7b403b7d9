"""EpochScrubber at the message line: real histories, what it sends recorded, what a browser sends made by hand."""

from __future__ import annotations

import base64
import io
import json
import math
import sys
import types

import numpy as np
import pytest
import traitlets
from PIL import Image

from browser import training
from difflens_widgets.dreambooth.history.events import AlarmRaised, EpochValidated, LossLogged, ValidationPrompt
from difflens_widgets.dreambooth.history.front_end import MAX_POINTS, curve, planned_epochs
from difflens_widgets.runs.events import Done, Message
from difflens_widgets.widgets import EpochScrubber

SOME = (0, 50, 200)


class Recorded(EpochScrubber):
    """An EpochScrubber whose messages to the browser are kept."""

    def __init__(self, *args):
        self.messages = []
        super().__init__(*args)

    def _send(self, msg, buffers=None):
        self.messages.append((msg, buffers or []))

    def custom(self, kind):
        found = [(m["content"], b) for m, b in self.messages if m["method"] == "custom"]
        return [(content, buffers) for content, buffers in found if content["type"] == kind]

    def settle(self):
        assert self._task_thread.flush(10)


@pytest.fixture
def show():
    widgets = []

    def build(*args):
        widgets.append(Recorded(*args))
        return widgets[-1]

    yield build
    for widget in widgets:
        widget.close()


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return training.finished(SOME, folder=tmp_path_factory.mktemp("scrubber"))


@pytest.fixture
def job(tmp_path):
    """A training whose events the test makes."""
    return training.Training(training.new(tmp_path))


def validated(epoch, prompt=0):
    return EpochValidated(epoch, prompt, training.generate(epoch, prompt))


def picture_of(frame):
    return Image.open(io.BytesIO(frame["data"])).convert("RGB")


# -- a record


def test_a_finished_training_is_complete_in_the_state_that_opens_the_widget(show, history):
    widget = show(history)
    assert (widget.status, widget.epoch, widget.layer, widget.validation_prompt) == ("done", 200, 12, 0)
    assert (widget.epochs, widget.columns) == ([0, 50, 200], list(range(0, 351, 50)))  # the config tells what comes
    assert (widget.layers, widget.num_layers, widget.settings["seed"]) == (list(range(13)), 13, 0)
    assert [prompt["role"] for prompt in widget.validation_prompts] == ["instance", "class", "control"]
    assert [token["text"] for token in widget.validation_prompts[1]["tokens"][1:6]] == ["a", "photo", "of", "a", "dog"]
    assert len(widget._frames) == 3 * 3 * 13
    frame = widget._frames["prompt/1/epoch/50/layer/7"]
    assert picture_of(frame).tobytes() == history.run(50, 1).images[7].tobytes()
    assert (frame["mime"], frame["final"]) == ("image/webp", True)
    assert [alarm["epoch"] for alarm in widget.alarms] == [alarm.epoch for alarm in history.alarms] == [200]
    assert not widget._task_thread.running
    assert repr(widget).endswith("3 epochs validated, done)")


def test_the_drift_is_that_of_the_history(show, history):
    drift = show(history).training_drift
    for prompt in range(3):
        for name, values in history.training_drift(prompt).items():
            shown = [drift[f"{prompt}/{epoch}"][name] for epoch in SOME]
            np.testing.assert_allclose(shown, values, rtol=1e-3, atol=1e-12)
    assert json.dumps(drift, allow_nan=False)


def test_nothing_yet(show):
    widget = show()
    assert (widget.status, widget.columns, repr(widget)) == ("empty", [], "EpochScrubber()")
    assert "image/png" not in widget._repr_mimebundle_()[0]


@pytest.mark.parametrize("source", ["folder", 3, training.generate(0, 0)])
def test_what_is_no_training_is_refused(show, source):
    with pytest.raises(TypeError, match=r"shows a TrainingHistory or a TrainingJob.*start_dreambooth"):
        show(source)


def test_places_that_are_not_there_are_refused(show, history):
    widget = show(history)
    widget.epoch, widget.layer, widget.validation_prompt, widget.color_by = 100, 0, 2, "latent_rms"
    for name, value in (("epoch", 20), ("layer", 13), ("validation_prompt", 3), ("color_by", "red")):
        with pytest.raises(traitlets.TraitError):
            setattr(widget, name, value)


def test_the_still_picture_is_the_matrix_of_the_prompt(show, history):
    widget = show(history)
    widget.validation_prompt = 1
    data, _ = widget._repr_mimebundle_()
    still = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert max(still.size) == 768
    assert abs(still.width / still.height - history.grid(1).width / history.grid(1).height) < 0.01


def test_the_film_of_the_layer_on_screen_and_the_page(show, history):
    widget = show(history)
    widget.layer = 3
    widget._export("gif")
    widget._export("html")
    (gif, buffers), (html, pages) = widget.custom("file")
    assert Image.open(io.BytesIO(buffers[0])).n_frames == 3
    assert pages[0].startswith(b"<!doctype html>")
    assert "error" not in {**gif, **html}


def test_a_damaged_run_is_told_and_the_others_are_shown(show, tmp_path):
    history = training.finished((0, 50), folder=tmp_path)
    (history.folder / "epochs" / "000050" / "prompt_01.lens").write_bytes(b"broken")
    widget = show(type(history).load(history.folder))
    assert "prompt_01.lens" in widget.notice
    assert len(widget._frames) == 5 * 13


def test_a_history_without_its_job_says_how_to_follow_it(show, job):
    job.emit(validated(0))
    widget = show(job.history)
    assert (widget.status, widget.epochs) == ("stopped", [0])
    assert "Show the job" in widget.notice


# -- a job


def test_a_training_is_followed(show, job):
    job.emit(LossLogged(1, 1, {"loss": 0.5}))
    job.emit(validated(0))
    widget = show(job)
    widget.settle()
    assert (widget.status, widget.epochs, widget.epoch, widget.layer) == ("running", [0], 0, 12)
    assert widget.losses == {"points": [[1.0, 0.5]], "steps": 1}
    assert len(widget._frames) == 13
    job.emit(validated(0, 1))
    job.emit(validated(50))
    widget.settle()
    assert (widget.epochs, widget.epoch) == ([0, 50], 50)  # the newest was on screen
    assert widget.training_drift["0/50"]["latent_rms"][12] > 0
    widget.epoch = 0
    job.emit(validated(100))
    job.emit(Message("mind"))
    widget.settle()
    assert (widget.epochs, widget.epoch, widget.notice) == ([0, 50, 100], 0, "mind")  # the user looks elsewhere
    job.emit(Done("stopped", "by hand"))
    widget.settle()
    assert (widget.status, widget.message, len(widget._frames)) == ("stopped", "by hand", 4 * 13)


def test_alarms_and_progress_arrive(show, job):
    widget = show(job)
    for prompt in range(3):
        job.emit(validated(0, prompt))
    job._tell(7, 2, "validation")
    for prompt in range(3):
        job.emit(validated(200, prompt))
    widget.settle()
    assert widget.progress["step"] == 7
    assert widget.progress["doing"] == "validation"
    assert [(alarm["kind"], alarm["epoch"], alarm["validation_prompt"]) for alarm in widget.alarms] == [
        ("collapse", 200, 1)
    ]


def test_a_replay_shows_what_went_before_once(show, job, history):
    for prompt in range(3):
        job.emit(validated(0, prompt))
        job.emit(LossLogged(prompt + 1, 1, {"loss": 0.5}))
    widget = show(job)
    job.history.record(Done("done"))
    widget.settle()
    assert (widget.epochs, len(widget._frames), len(widget.losses["points"])) == ([0], 3 * 13, 3)
    other = show(history)
    other.show(job)
    other.settle()
    assert (other.status, other.epochs, len(other._frames)) == ("running", [0], 3 * 13)


def test_a_real_thread_validates_to_the_end(show, tmp_path):
    job = training.Training(training.new(tmp_path), SOME).start()
    widget = show(job)
    job.result(60)
    widget.settle()
    assert (widget.status, widget.epochs, widget.epoch, len(widget._frames)) == ("done", [0, 50, 200], 200, 9 * 13)
    assert widget.training_drift == show(job.history).training_drift
    assert [m for m, _ in widget.messages if m["method"] == "update" and "_frames" in m.get("state", {})]


def test_stop(show, job):
    widget = show(job)
    widget._handle_custom_msg({"type": "stop"}, [])
    assert job.cancelled()


def test_events_of_a_training_shown_before_are_passed_over(show, job, history):
    widget = show(job)
    job.emit(validated(0))
    widget.show(history)
    widget._on_event(1, validated(100))
    widget._on_event(1, AlarmRaised(history.alarms[0]))
    assert (widget.epochs, widget.status, len(widget._frames)) == ([0, 50, 200], "done", 9 * 13)
    with pytest.raises(TypeError, match="got None"):
        widget.show(None)


def test_what_is_on_screen_goes_first(show, job):
    widget = show(job)
    job.emit(validated(0))
    widget.settle()
    widget.layer = 4
    assert widget._channel.first == "prompt/0/epoch/0/layer/4"
    widget.epoch = 50
    assert widget._channel.first == "prompt/0/epoch/50/layer/4"


def test_colab_waits_for_the_end(show, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    widget = show(training.Training(training.new(tmp_path), (0,)).start())
    assert (widget.status, len(widget._frames)) == ("done", 3 * 13)


# -- the loss curve, and the epochs to come


def test_a_long_training_has_a_short_curve(tmp_path):
    history = training.new(tmp_path)
    for step in range(1, 1001):
        history.record(LossLogged(step, (step + 3) // 4, {"loss": math.nan if step == 3 else float(step)}))
    found = curve(history)
    points = np.array(found["points"])
    assert (found["steps"], len(points)) == (5, 200)
    assert len(points) <= MAX_POINTS
    assert points[0, 1] == (1 + 2 + 4 + 5) / 4  # what is not finite is left out
    assert points[-1].tolist() == [249.5, 998]
    assert (np.diff(points[:, 0]) > 0).all()
    assert curve(training.new(tmp_path / "b")) == {}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_train_epochs": 10, "diffusion_lens_epochs": 4}, [0, 4, 8, 10]),
        ({"num_train_epochs": 10, "diffusion_lens_epochs": 0}, []),
        ({"num_train_epochs": 10**9, "diffusion_lens_epochs": 1}, []),
        ({"num_train_epochs": "10", "diffusion_lens_epochs": True}, []),
        ({}, []),
    ],
)
def test_the_epochs_to_come(tmp_path, config, expected):
    assert planned_epochs(training.new(tmp_path, config, [ValidationPrompt("a dog", "class")])) == expected
