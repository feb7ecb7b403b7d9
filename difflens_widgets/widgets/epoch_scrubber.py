"""EpochScrubber: scrub through the epochs of a training and the layers of its text encoder, also while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import traitlets as t

from ..dreambooth.history.drift import MEASURES
from ..dreambooth.history.events import AlarmRaised, EpochValidated, LossLogged, TrainingEvent, TrainingProgress
from ..dreambooth.history.history import TrainingHistory
from ..runs.events import Done, Message
from ..runs.render.encoding import small_png
from ..runs.render.front_end import steps_of
from . import _base
from ._run_widget import wait_here
from ._scrubber_state import (
    curve,
    describe_training,
    drift_of,
    encode_small,
    history_state,
    of_run,
    picture_key,
    place_key,
    tokens_of,
)
from ._training import Job, parts_of

_INTERVAL = 0.25  # seconds between two words on progress, and between two loss curves
_DONE_PATIENCE = 2.0  # seconds that a training waits at its end for its widget to have told the browser


class EpochScrubber(_base.LensWidget):
    """A matrix of pictures, epochs across and layers down, with the loss above and the current picture beside it.

    Pictures travel as WebP of at most 256 pixels a side; a notebook that saves its widgets holds all of them: 8 epochs
    × 13 layers × 3 prompts take about 5 MB.

    Parameters
    ----------
    source : TrainingHistory, TrainingJob or None
        What to show; a job is followed while it trains, its newest epoch as long as the newest is on screen. None:
        nothing yet, see `show`.

    Attributes
    ----------
    epoch, layer : int
        The picture on screen.
    probe : int
        Whose pictures: an index of `probes`.
    colour : str
        What the matrix is coloured by: "cosine_distance" (of the states), "latent_rms" or "ssim_distance" (1 − SSIM of
        the pictures), each against epoch 0; "": the pictures as they are.
    probes : list of dict
        prompt, role and tokens of each prompt.
    columns, epochs : list of int
        The epochs of the matrix, and those of them that are painted.
    layers, num_layers, settings
        What is shown.
    alarms : list of dict
        kind, epoch, layer, probe and message of each alarm.
    losses : dict
        points (epoch, loss), each the mean of `steps` steps.
    drift : dict of "PROBE/EPOCH" → measure → list over the layers
    status : "empty", "running", "done", "stopped" or "failed"
    progress : dict
        step, steps, epoch, epochs, doing, seconds_left.

    Examples
    --------
    >>> EpochScrubber(train_dreambooth(config, start=True))  # doctest: +SKIP
    >>> ipywidgets.jslink((scrubber, "layer"), (slider, "layer"))  # doctest: +SKIP
    """

    _esm = _base.read_static("epoch_scrubber.js")
    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # also of what was never opened

    epoch = t.Int(0).tag(**_base.CHOICE)
    layer = t.Int(0).tag(**_base.CHOICE)
    probe = t.Int(0).tag(**_base.CHOICE)
    colour = t.Enum(["", *MEASURES], default_value="").tag(**_base.CHOICE)
    probes = t.List(t.Dict()).tag(sync=True)
    columns = t.List(t.Int()).tag(sync=True)
    epochs = t.List(t.Int()).tag(sync=True)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    alarms = t.List(t.Dict()).tag(sync=True)
    losses = t.Dict().tag(sync=True)
    drift = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)

    def __init__(self, source: TrainingHistory | Job | None = None) -> None:
        self._job: Job | None = None
        self._history: TrainingHistory | None = None
        self._last_progress = self._last_curve = float("-inf")
        history, job = parts_of("EpochScrubber", source)
        if job is not None and _base.in_colab():
            wait_here(job)
        if history is None or (job is not None and not job.done()):
            super().__init__()
        else:  # in the state that opens the widget: some front ends look at nothing else
            self._history = history
            state = history_state(history)
            super().__init__(**state, **_newest(state))
        if source is not None and self._history is None:
            self.show(source)

    def show(self, source: TrainingHistory | Job) -> None:
        """Show another training, or follow another job. A job shown before goes on, unseen."""
        history, job = parts_of("EpochScrubber", source)
        if history is None:
            raise TypeError("EpochScrubber.show: got None, a TrainingHistory or a TrainingJob would be right")
        if job is not None and _base.in_colab():
            wait_here(job)
        following = job is not None and not job.done()
        self._unsubscribe()
        with self._lock:
            self._job, self._history = None, history
            number = self._run + 1
            self._channel.restart(number)
            if following:
                state = {**describe_training(history), "_run": number, "message": "", "notice": "", "status": "running"}
            else:
                state = history_state(history, number)
            self._run, self._frames = number, {}
            self.columns, self.layers, self.probes = [], [], []  # nothing is out of their range meanwhile
            self.set_trait("probe", 0)
            for name, value in {**state, **_newest(state)}.items():
                setattr(self, name, value)
        if following and job is not None:
            self._job = job
            self._put_first({})
            self._unsubscribe = job.subscribe(partial(self._hear, number))

    def close(self) -> None:
        """Take the widget off the page; a job it showed goes on."""
        self._unsubscribe()
        super().close()

    # -- the job speaks: in its own thread, so only pass it on

    def _hear(self, number: int, event: TrainingEvent) -> None:
        self._task_thread.post(partial(self._on_event, number, event))
        if isinstance(event, Done):  # nothing is trained any more: let the browser know before `result()` returns
            self._task_thread.flush(_DONE_PATIENCE)

    def _on_event(self, number: int, event: TrainingEvent) -> None:
        with self._lock:
            history = self._history
            if number != self._run or history is None:
                return  # of a job shown before
            if isinstance(event, LossLogged):
                self._tell_losses(history)
            elif isinstance(event, EpochValidated):
                self._on_painted(event, history)
            elif isinstance(event, AlarmRaised):
                self.alarms = [asdict(alarm) for alarm in history.alarms]
            elif isinstance(event, TrainingProgress):
                self._on_progress(event)
            elif isinstance(event, Message):
                self.notice = event.message
            elif isinstance(event, Done):
                self._on_done(event, history)

    def _on_painted(self, event: EpochValidated, history: TrainingHistory) -> None:
        """Send the pictures; in place, without notice of the trait: the browser gets all once more at the end."""
        probe, epoch, run = event.probe, event.epoch, event.run
        newest = not self.epochs or (self.epoch == self.epochs[-1] and self.layers != [])
        for name, value in of_run(run).items():
            setattr(self, name, value)
        if not self.epochs:
            self.layer = self.layers[-1]
        if not self.probes[probe]["tokens"]:
            rows = [dict(row) for row in self.probes]
            rows[probe]["tokens"] = tokens_of(run)
            self.probes = rows
        for layer, image in sorted(run.images.items()):
            key = picture_key(probe, epoch, layer)
            self._frames[key] = self._channel.final(key, image, steps_of(run), encode_small)
        self.drift = {**self.drift, place_key(probe, epoch): drift_of(history, probe, epoch)}
        self.columns = sorted({*self.columns, epoch})
        self.epochs = sorted({*self.epochs, epoch})
        self.alarms = [asdict(alarm) for alarm in history.alarms]
        self._tell_losses(history, now=True)
        if newest and probe == self.probe:
            self.epoch = epoch  # the training is followed as long as its newest epoch is on screen

    def _on_progress(self, event: TrainingProgress) -> None:
        now = time.monotonic()
        if event.doing != self.progress.get("doing") or now - self._last_progress >= _INTERVAL:
            self._last_progress = now
            self.progress = asdict(event)

    def _tell_losses(self, history: TrainingHistory, *, now: bool = False) -> None:
        if now or time.monotonic() - self._last_curve >= _INTERVAL:
            self.losses = curve(history)
            self._last_curve = time.monotonic()

    def _on_done(self, event: Done, history: TrainingHistory) -> None:
        self._job = None
        self._tell_losses(history, now=True)
        self._channel.restart(self._run)  # all that is finished goes out as one now
        self.send_state("_frames")
        self.message = event.message
        self.status = event.status
        self._renew_still()

    # -- the user speaks

    @t.validate("epoch", "layer", "probe")
    def _known_place(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        places = {"epoch": self.columns, "layer": self.layers, "probe": list(range(len(self.probes)))}[name]
        if places and value not in places:
            raise t.TraitError(f"{name} {value} is not there: this training has {_ranges(places)}")
        return value

    @t.observe("epoch", "layer", "probe")
    def _put_first(self, _: dict[str, Any]) -> None:
        """What is on screen goes before all other pictures."""
        self._channel.first = picture_key(self.probe, self.epoch, self.layer)

    def _stop(self) -> None:
        job = self._job
        if job is not None:
            job.cancel()

    def _write_file(self, file_format: str, path: Path) -> None:
        if self._history is None or file_format != "gif":
            raise ValueError(f"cannot save a training as {file_format!r}")
        self._history.to_gif(path, layer=self.layer, probe=self.probe)

    def _still_png(self) -> bytes | None:
        history = self._history
        if history is None or not any(history.has(epoch, self.probe) for epoch in history.epochs):
            return None
        return small_png(history.grid(self.probe))

    def __repr__(self) -> str:
        if self._history is None:
            return "EpochScrubber()"
        return f"EpochScrubber({str(self._history.folder)!r}, {len(self.epochs)} epochs painted, {self.status})"


def _newest(state: dict[str, Any]) -> dict[str, int]:
    """Where to begin: the last layer, the model's usual picture, of the newest epoch."""
    return {
        "epoch": state["epochs"][-1] if state["epochs"] else 0,
        "layer": state["layers"][-1] if state["layers"] else 0,
    }


def _ranges(places: list[int]) -> str:
    return f"{', '.join(map(str, places[:20]))}{', …' if len(places) > 20 else ''}"
