"""Trainings for tests: real histories in real folders, of drawn images or of any other; no torch by itself.

Notebooks of the browser tests import it in the kernel.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from difflens_widgets.dreambooth.history.events import (
    AlarmRaised,
    EpochValidated,
    LossLogged,
    TrainingEvent,
    TrainingProgress,
    ValidationPrompt,
)
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.runs.events import Done
from difflens_widgets.runs.run import LensRun

try:
    from browser import scripted
except ModuleNotFoundError:  # a notebook's kernel sees this folder only
    import scripted  # type: ignore[no-redef]

PROMPTS = (
    ValidationPrompt("a photo of xon dog", "instance"),
    ValidationPrompt("a photo of a dog", "class"),
    ValidationPrompt("a red circle on a blue background", "control"),
)
CONFIG = {"num_train_epochs": 350, "diffusion_lens_epochs": 50}
EPOCHS = range(0, 351, 50)
STEPS = 4  # an epoch
_THINGS = (("dog", "orange", "white"), ("dog", "brown", "white"), ("circle", "red", "blue"))

Generate = Callable[[int, int], LensRun]


def new(
    folder: Path | None = None, config: dict | None = None, prompts: Iterable[ValidationPrompt] = PROMPTS
) -> TrainingHistory:
    """A history with nothing in it; without a `folder` in a new one beside the notebook, gone with its server."""
    place = (folder or Path(tempfile.mkdtemp(prefix=".training-", dir=Path.cwd()))) / "training"
    about = {"model": "difflens-tiny", "model_hash": "00ff", "validation_prompts": tuple(prompts)}
    return TrainingHistory.create(place, config=CONFIG if config is None else config, **about)


def generate(epoch: int, prompt: int, size: int = 64) -> LensRun:
    """The subject's picture comes from epoch to epoch, in the later layers first; the class follows late."""
    run = scripted.empty_run(PROMPTS[prompt].prompt)
    kind, colour, background = _THINGS[prompt]
    share = (epoch / 350) * (1.0, 1.25 * epoch / 350, 0.1)[prompt]
    rng = np.random.default_rng(prompt)
    states, change = (rng.normal(size=(13, len(run.tokens), 8)) for _ in range(2))
    for layer in run.layers:
        far = share if prompt == 2 else float(np.clip(1.6 * share - 0.1 * (12 - layer), 0, 1))
        own = _drawn(kind, colour, background, layer, size)
        subject = _drawn("bear", "purple", "yellow", layer, size)
        run.images[layer] = image = Image.blend(own, subject, far)
        pixels = np.asarray(image.resize((16, 16), Image.Resampling.BOX), np.float32).transpose(2, 0, 1) / 64
        run.latents[layer] = np.concatenate([pixels, pixels.mean(0, keepdims=True)])
        states[layer] += far * change[layer]
    run.states = states.astype(np.float16)
    run.status = "done"
    return run


def loss(step: int) -> float:
    """Falls, and jumps about as a DreamBooth loss does."""
    return float(0.1 + 0.2 * np.exp(-step / 300) + 0.05 * np.random.default_rng(step).normal())


def finished(
    epochs: Iterable[int] = EPOCHS, *, folder: Path | None = None, config: dict | None = None, size: int = 64
) -> TrainingHistory:
    """A training that is done."""
    job = Training(new(folder, config), epochs, lambda epoch, prompt: generate(epoch, prompt, size))
    job.work()
    return job.history


class Training:
    """A training that goes on: it logs losses and validates, as its trainer would, and can be held.

    Parameters
    ----------
    history : TrainingHistory
    epochs : iterable of int
        Those with a validation.
    generate : callable
        Gives the run of an epoch and a validation prompt.
    seconds : float
        About how long an epoch with a validation takes.
    hold_at : int, optional
        Wait before this epoch is validated, until stopped or until `go_on` is set.
    fail_at : int, optional
        Break before this epoch is validated.
    """

    def __init__(
        self,
        history: TrainingHistory,
        epochs: Iterable[int] = EPOCHS,
        generate: Generate = generate,
        *,
        seconds: float = 0.0,
        hold_at: int | None = None,
        fail_at: int | None = None,
    ) -> None:
        self.history = history
        self.progress: TrainingProgress | None = None
        self.go_on = threading.Event()
        self._epochs, self._generate, self._seconds = list(epochs), generate, seconds
        self._hold_at, self._fail_at = hold_at, fail_at
        self._cancelled, self._finished = threading.Event(), threading.Event()
        self._listeners: list[Callable[[TrainingEvent], None]] = []
        self._lock = threading.RLock()

    def done(self) -> bool:
        return self._finished.is_set()

    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> TrainingHistory:
        if not self._finished.wait(timeout):
            raise TimeoutError
        return self.history

    def subscribe(self, listener: Callable[[TrainingEvent], None]) -> Callable[[], None]:
        with self._lock:
            losses = self.history.losses
            for row in range(len(losses["step"])):
                values = {name: float(losses[name][row]) for name in ("loss", "learning_rate")}
                listener(LossLogged(int(losses["step"][row]), int(losses["epoch"][row]), values))
            for epoch in self.history.epochs:
                for prompt in range(len(self.history.validation_prompts)):
                    if self.history.has(epoch, prompt):
                        listener(EpochValidated(epoch, prompt, self.history.run(epoch, prompt)))
            for alarm in self.history.alarms:
                listener(AlarmRaised(alarm))
            if self.done():
                listener(Done(self.history.status, self.history.message))
            self._listeners.append(listener)
        return lambda: listener in self._listeners and self._listeners.remove(listener)

    def start(self) -> Training:
        threading.Thread(target=self.work, daemon=True).start()
        return self

    def emit(self, event: TrainingEvent) -> None:
        with self._lock:
            raised = self.history.record(event)
            for each in (event, *map(AlarmRaised, raised)):
                for listener in self._listeners:
                    listener(each)

    def work(self) -> None:
        step, before = 0, 0
        try:
            for epoch in self._epochs:
                for each in range(before + 1, epoch + 1):
                    for _ in range(STEPS):
                        step += 1
                        self.emit(LossLogged(step, each, {"loss": loss(step), "learning_rate": 1e-4}))
                    self._tell(step, each, "training")
                    time.sleep(self._seconds / max(1, epoch - before))
                    if self.cancelled():
                        return self.emit(Done("stopped", "stopped by hand"))
                before = epoch
                self._tell(step, epoch, "validation")
                while epoch == self._hold_at and not self.cancelled() and not self.go_on.wait(0.02):
                    pass
                if self.cancelled():
                    return self.emit(Done("stopped", "stopped by hand"))
                if epoch == self._fail_at:
                    return self.emit(Done("failed", f"ValueError: the loss of step {step} is not finite"))
                for prompt in range(len(self.history.validation_prompts)):
                    self.emit(EpochValidated(epoch, prompt, self._generate(epoch, prompt)))
            return self.emit(Done("done"))
        finally:
            self._finished.set()

    def _tell(self, step: int, epoch: int, doing: str) -> None:
        last = self._epochs[-1]
        self.progress = TrainingProgress(step, STEPS * last, epoch, last, doing, 0.01 * (STEPS * last - step))  # type: ignore[arg-type]
        self.emit(self.progress)


@cache
def _drawn(kind: str, colour: str, background: str, layer: int, size: int) -> Image.Image:
    item = scripted.Item(kind, colour, 0.5, 0.52, 0.12 + 0.014 * layer)
    return scripted.draw(scripted.Scene((item,), background, "object", ""), size)
