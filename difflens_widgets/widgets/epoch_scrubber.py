"""EpochScrubber: move through the epochs of a training and the layers of its text encoder, also while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import traitlets as t

from ..dreambooth.history.events import AlarmRaised, EpochValidated, LossLogged, TrainingEvent, TrainingProgress
from ..dreambooth.history.front_end import (
    curve,
    describe_training,
    drift_key,
    drift_of,
    encode_small,
    history_state,
    image_key,
    of_run,
    page_view,
    tokens_of,
)
from ..dreambooth.history.history import TrainingHistory
from ..dreambooth.history.training_drift import METRICS
from ..runs.events import Done, Message
from ..runs.render.encoding import small_png
from ..runs.render.front_end import steps_of
from ..runs.render.page import PageView
from . import _base
from ._run_widget import wait_here
from ._training import Job, parts_of

_INTERVAL = 0.25  # seconds between two updates of the progress, and of the loss curve
_DONE_PATIENCE = 2.0  # seconds that a training waits at its end for its widget to update the browser


class EpochScrubber(_base.LensWidget):
    """A matrix of images, epochs across and layers down, with the loss above and the current image beside it.

    Images are sent as WebP of at most 256 pixels a side. A notebook that saves its widgets holds all of them: 8 epochs
    × 13 layers × 3 prompts take about 5 MB.

    Parameters
    ----------
    source : TrainingHistory, TrainingJob or None
        What to show. A job is followed while it trains: if its newest epoch is on screen, the next one replaces it.
        None: nothing yet, see `show`.
    static : bool
        As for a `LayerSlider`.

    Attributes
    ----------
    epoch, layer : int
        Of the image on screen.
    validation_prompt : int
        The prompt of the images: an index of `validation_prompts`.
    color_by : str
        The metric that colors the matrix: "cosine_distance" (of the states), "latent_rms" or "ssim_distance" (1 − SSIM
        of the images), each against epoch 0; "": images without colors.
    validation_prompts : list of dict
        prompt, role, seed_offset and tokens of each prompt.
    columns, epochs : list of int
        The epochs of the matrix, and those of them that have images.
    layers, num_layers, settings
        Of the runs.
    alarms : list of dict
        kind, epoch, layer, validation_prompt and message of each alarm.
    losses : dict
        points (epoch, loss), each the mean of `steps` steps.
    training_drift : dict of "PROMPT/EPOCH" → metric → list over the layers
    status : "empty", "running", "done", "stopped" or "failed"
    progress : dict
        step, steps, epoch, epochs, doing, seconds_left.

    Examples
    --------
    >>> EpochScrubber(start_dreambooth(config))  # doctest: +SKIP
    >>> ipywidgets.jslink((scrubber, "layer"), (slider, "layer"))  # doctest: +SKIP
    """

    _esm = _base.read_static("epoch_scrubber.js")
    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # also without __init__

    epoch = t.Int(0).tag(**_base.CHOICE)
    layer = t.Int(0).tag(**_base.CHOICE)
    validation_prompt = t.Int(0).tag(**_base.CHOICE)
    color_by = t.Enum(["", *METRICS], default_value="").tag(**_base.CHOICE)
    validation_prompts = t.List(t.Dict()).tag(sync=True)
    columns = t.List(t.Int()).tag(sync=True)
    epochs = t.List(t.Int()).tag(sync=True)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    alarms = t.List(t.Dict()).tag(sync=True)
    losses = t.Dict().tag(sync=True)
    training_drift = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)

    def __init__(self, source: TrainingHistory | Job | None = None, *, static: bool = False) -> None:
        self._static = _base.is_static(static)
        self._job: Job | None = None
        self._history: TrainingHistory | None = None
        self._last_progress = self._last_curve = float("-inf")
        history, job = parts_of("EpochScrubber", source)
        if job is not None and (self._static or _base.in_colab()):
            wait_here(job)
        if history is None or (job is not None and not job.done()):
            super().__init__()
        else:  # in the initial state: some front ends read nothing else
            self._history = history
            state = history_state(history)
            super().__init__(**state, **_newest(state))
        if source is not None and self._history is None:
            self.show(source)

    def show(self, source: TrainingHistory | Job) -> None:
        """Show another training, or follow another job. A job that was shown before continues."""
        history, job = parts_of("EpochScrubber", source)
        if history is None:
            raise TypeError("EpochScrubber.show: got None, expected a TrainingHistory or a TrainingJob")
        if job is not None and (self._static or _base.in_colab()):
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
            self.columns, self.layers, self.validation_prompts = [], [], []  # without these every choice is valid
            self.set_trait("validation_prompt", 0)
            for name, value in {**state, **_newest(state)}.items():
                setattr(self, name, value)
        if following and job is not None:
            self._job = job
            self._put_first({})
            self._unsubscribe = job.subscribe(partial(self._hear, number))

    def close(self) -> None:
        """Remove the widget from the page; a job that it shows continues."""
        self._unsubscribe()
        super().close()

    # -- events of the job: in its own thread, so they are only passed on

    def _hear(self, number: int, event: TrainingEvent) -> None:
        self._task_thread.post(partial(self._on_event, number, event))
        if isinstance(event, Done):  # the training is over: update the browser before `result()` returns
            self._task_thread.flush(_DONE_PATIENCE)

    def _on_event(self, number: int, event: TrainingEvent) -> None:
        with self._lock:
            history = self._history
            if number != self._run or history is None:
                return  # of a job that was shown before
            if isinstance(event, LossLogged):
                self._send_losses(history)
            elif isinstance(event, EpochValidated):
                self._on_validated(event, history)
            elif isinstance(event, AlarmRaised):
                self.alarms = [asdict(alarm) for alarm in history.alarms]
            elif isinstance(event, TrainingProgress):
                self._on_progress(event)
            elif isinstance(event, Message):
                self.notice = event.message
            elif isinstance(event, Done):
                self._on_done(event, history)

    def _on_validated(self, event: EpochValidated, history: TrainingHistory) -> None:
        """Send the images; `_frames` changes in place, without an update: the browser gets all again at the end."""
        index, epoch = event.validation_prompt, event.epoch
        try:
            run = event.run  # a replayed one is read from disk now
            drift = drift_of(history, index, epoch)
        except (ValueError, OSError) as error:
            self.notice = f"Not shown: {error}"
            return
        newest = not self.epochs or (self.epoch == self.epochs[-1] and self.layers != [])
        for name, value in of_run(run).items():
            setattr(self, name, value)
        if not self.epochs:
            self.layer = self.layers[-1]
        if not self.validation_prompts[index]["tokens"]:
            rows = [dict(row) for row in self.validation_prompts]
            rows[index]["tokens"] = tokens_of(run)
            self.validation_prompts = rows
        for layer, image in sorted(run.images.items()):
            key = image_key(index, epoch, layer)
            self._frames[key] = self._channel.final(key, image, steps_of(run), encode_small)
        self.training_drift = {**self.training_drift, drift_key(index, epoch): drift}
        self.columns = sorted({*self.columns, epoch})
        self.epochs = sorted({*self.epochs, epoch})
        self.alarms = [asdict(alarm) for alarm in history.alarms]
        self._send_losses(history, now=True)
        if newest and index == self.validation_prompt:
            self.epoch = epoch  # the newest epoch was on screen: follow the training

    def _on_progress(self, event: TrainingProgress) -> None:
        now = time.monotonic()
        if event.doing != self.progress.get("doing") or now - self._last_progress >= _INTERVAL:
            self._last_progress = now
            self.progress = asdict(event)

    def _send_losses(self, history: TrainingHistory, *, now: bool = False) -> None:
        if now or time.monotonic() - self._last_curve >= _INTERVAL:
            self.losses = curve(history)
            self._last_curve = time.monotonic()

    def _on_done(self, event: Done, history: TrainingHistory) -> None:
        self._job = None
        self._send_losses(history, now=True)
        self._channel.restart(self._run)  # all finished images are sent as one update now
        self.send_state("_frames")
        self.message = event.message
        self.status = event.status
        self._renew_still()

    # -- choices of the user

    @t.validate("epoch", "layer", "validation_prompt")
    def _known_choice(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        prompts = list(range(len(self.validation_prompts)))
        choices = {"epoch": self.columns, "layer": self.layers, "validation_prompt": prompts}[name]
        if choices and value not in choices:
            raise t.TraitError(f"{name} {value} does not exist: this training has {_listed(choices)}")
        return value

    @t.observe("epoch", "layer", "validation_prompt")
    def _put_first(self, _: dict[str, Any]) -> None:
        """Send the image on screen before all others."""
        self._channel.first = image_key(self.validation_prompt, self.epoch, self.layer)

    def _stop(self) -> None:
        job = self._job
        if job is not None:
            job.cancel()

    def _write_file(self, file_format: str, path: Path) -> None:
        if self._history is None or file_format not in ("gif", "html"):
            raise ValueError(f"cannot save a training as {file_format!r}")
        if file_format == "html":
            self._history.to_html(path)
            return
        self._history.to_gif(path, layer=self.layer, validation_prompt=self.validation_prompt)

    def _page_view(self, thinning: int = 0) -> PageView:
        if self._history is None:
            raise ValueError("there is no training yet")
        return page_view(self._history, thinning)

    def _still_png(self) -> bytes | None:
        history = self._history
        if history is None or not any(history.has(epoch, self.validation_prompt) for epoch in history.epochs):
            return None
        return small_png(history.grid(self.validation_prompt))

    def __repr__(self) -> str:
        if self._history is None:
            return "EpochScrubber()"
        return f"EpochScrubber({str(self._history.folder)!r}, {len(self.epochs)} epochs validated, {self.status})"


def _newest(state: dict[str, Any]) -> dict[str, int]:
    """The first image to show: the last layer, which is the model's usual image, of the newest epoch."""
    return {
        "epoch": state["epochs"][-1] if state["epochs"] else 0,
        "layer": state["layers"][-1] if state["layers"] else 0,
    }


def _listed(choices: list[int]) -> str:
    return f"{', '.join(map(str, choices[:20]))}{', …' if len(choices) > 20 else ''}"
