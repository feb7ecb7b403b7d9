"""TrainingJob: a training in a worker thread; and `train_dreambooth`, which begins one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Literal, overload

import numpy as np

from ..runs.background import BackgroundJob
from ..runs.events import Done
from ..runs.worker import Worker
from .config import DreamBoothConfig
from .history.events import (
    Alarm,
    AlarmRaised,
    EpochValidated,
    LossLogged,
    TrainingEvent,
    TrainingListener,
    TrainingProgress,
)
from .history.history import TrainingHistory

log = logging.getLogger(__name__)


class TrainingJob(BackgroundJob[TrainingHistory]):
    """A training that may still be going on.

    Attributes
    ----------
    history : TrainingHistory
        What happened so far; everything in it is on disk too.
    progress : TrainingProgress or None
        The latest word on where the training stands.
    """

    _what = "training"

    def __init__(self, history: TrainingHistory, work: Callable[[TrainingJob], None], *, records: bool = True) -> None:
        """`work` trains, calls `emit` on the way and looks at `cancelled`.

        `records`: write into the history; of several processes only one does.
        """
        super().__init__(history)
        self.history = history
        self.progress: TrainingProgress | None = None
        self._work = work
        self._records = records
        self._complete = False

    def subscribe(self, listener: TrainingListener) -> Callable[[], None]:
        """Call `listener` with every event from now on, after a replay of what the history holds.

        The listener runs in the worker thread and should return soon. Returns a function that ends the subscription.
        """
        return self._subscribe(listener, None)

    def start(self) -> TrainingJob:
        """Begin in a worker thread."""
        self._start(Worker())
        return self

    def wait(self) -> TrainingHistory:
        """Wait for the end; Ctrl-C stops the training in good order, a checkpoint saved, and is raised then."""
        try:
            return self.result()
        except KeyboardInterrupt:
            self.cancel()
            self.result()
            raise

    def complete(self) -> None:
        """Said by the work when nothing is left to do."""
        self._complete = True

    def _do(self) -> None:
        self._work(self)

    def _enter(self, event: TrainingEvent) -> Iterator[TrainingEvent]:
        if isinstance(event, TrainingProgress):
            self.progress = event
        alarms: list[Alarm] = []
        try:
            alarms = self.history.record(event) if self._records else []
        except OSError:
            if not isinstance(event, Done):
                raise
            log.exception("how the training ended could not be written down")  # a full disk: say it all the same
            self.history.status, self.history.message = event.status, event.message
        return iter([AlarmRaised(alarm) for alarm in alarms])

    def _replay(self) -> Iterator[TrainingEvent]:
        history = self.history
        losses = history.losses
        for row, (step, epoch) in enumerate(zip(losses["step"], losses["epoch"], strict=True)):
            values = {name: float(column[row]) for name, column in losses.items() if name not in ("step", "epoch")}
            told = {name: value for name, value in values.items() if not np.isnan(value)}
            yield LossLogged(int(step), int(epoch), told)
        for epoch in history.epochs:
            for number in range(len(history.probes)):
                if history.has(epoch, number):
                    yield EpochValidated(epoch, number, history.run(epoch, number))
        for alarm in history.alarms:
            yield AlarmRaised(alarm)
        if self.progress is not None:
            yield self.progress
        if history.status != "running":
            yield Done(history.status, history.message)

    def _outcome(self) -> Done:
        return Done("done") if self._complete else Done("stopped")

    def __repr__(self) -> str:
        at = f"step {self.progress.step} of {self.progress.steps}, " if self.progress else ""
        return f"TrainingJob({str(self.history.folder)!r}, {at}{self.history.status})"


@overload
def train_dreambooth(
    config: DreamBoothConfig, *, start: Literal[False] = ..., resume: bool = ...
) -> TrainingHistory: ...
@overload
def train_dreambooth(config: DreamBoothConfig, *, start: Literal[True], resume: bool = ...) -> TrainingJob: ...
def train_dreambooth(
    config: DreamBoothConfig, *, start: bool = False, resume: bool = False
) -> TrainingHistory | TrainingJob:
    """Teach a model one subject, and watch every layer of its text encoder while it learns.

    Parameters
    ----------
    config : DreamBoothConfig
    start : bool
        Return a `TrainingJob` at once and train in a worker thread, instead of waiting with a progress bar.
    resume : bool
        Go on with the training in `config.output_dir`, which was stopped, killed or failed, from its last checkpoint:
        in float32 and one process with the same weights, to the bit, as if nothing had happened.

    Raises
    ------
    ValueError
        For what cannot work, before anything is computed.
    OSError
        If something cannot be read or written; what was saved before stays.
    NotFiniteError
        If the loss is NaN or infinite: names the step. The last good checkpoint is kept.
    """
    from .training.trainer import train_with  # here: `TrainingJob` is known to readers of histories, without torch

    job = train_with(config, resume=resume)
    if start:
        return job.start()
    from .training.progress_bar import shown

    with shown(job):
        return job.start().wait()
