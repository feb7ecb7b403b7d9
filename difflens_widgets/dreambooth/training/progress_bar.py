"""The time that a training still takes, and a progress bar for one that is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from ...runs.events import Message
from ..config import DreamBoothConfig
from ..history.events import AlarmRaised, Doing, LossLogged, TrainingEvent, TrainingProgress
from ..job import TrainingJob
from .sampler import BatchSampler
from .validation import is_validation_epoch

log = logging.getLogger(__name__)


@contextmanager
def shown(job: TrainingJob) -> Iterator[None]:
    """Within the block a bar counts the steps; messages and alarms go to the log."""
    with tqdm(desc="training", unit="step", leave=False) as bar:

        def show(event: TrainingEvent) -> None:
            if isinstance(event, TrainingProgress):
                bar.total = event.steps
                bar.set_description(event.doing, refresh=False)
                bar.update(event.step - bar.n)
            elif isinstance(event, LossLogged):
                bar.set_postfix(loss=f"{event.values['loss']:.4f}", refresh=False)
            elif isinstance(event, Message):
                log.warning(event.message)
            elif isinstance(event, AlarmRaised):
                log.warning(event.alarm.message)

        unsubscribe = job.subscribe(show)
        try:
            yield
        finally:
            unsubscribe()


class EtaEstimator:
    """Estimates the remaining time from the mean duration of the steps and of the validations so far."""

    def __init__(self, config: DreamBoothConfig, sampler: BatchSampler) -> None:
        self._config, self._sampler = config, sampler
        self._seconds = {"training": 0.0, "validation": 0.0}
        self._counts = {"training": 0, "validation": 0}
        self._since = time.monotonic()

    def report(self, job: TrainingJob, step: int, doing: Doing) -> None:
        """Emit how far the training is; "training" counts the step that has just ended."""
        if doing == "training":
            self._count("training")
        self._since = time.monotonic()
        sampler = self._sampler
        epoch = sampler.epoch_of(step) if step else 0
        job.emit(TrainingProgress(step, sampler.steps, epoch, sampler.epochs, doing, self._seconds_left(step)))

    def validation_ended(self) -> None:
        """Count the validation that has just ended."""
        self._count("validation")
        self._since = time.monotonic()

    def _count(self, what: str) -> None:
        self._seconds[what] += time.monotonic() - self._since
        self._counts[what] += 1

    def _seconds_left(self, step: int) -> float | None:
        sampler = self._sampler
        epochs = range(sampler.completed_epochs(step) + 1, sampler.epochs + 1)
        validations = sum(is_validation_epoch(self._config, epoch, sampler.epochs) for epoch in epochs)
        seconds = 0.0
        for what, count in {"training": sampler.steps - step, "validation": validations}.items():
            if count and not self._counts[what]:
                return None
            seconds += count * self._seconds[what] / max(1, self._counts[what])
        return seconds
