"""TrainingJob: a training in a worker thread. Needs no torch; `training.trainer` makes one that trains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np

from ..runs.background import BackgroundJob
from ..runs.events import Done
from ..runs.worker import Worker
from .history.events import (
    Alarm,
    AlarmRaised,
    LossLogged,
    StoredValidation,
    TrainingEvent,
    TrainingListener,
    TrainingProgress,
)
from .history.history import TrainingHistory

log = logging.getLogger(__name__)


class TrainingJob(BackgroundJob[TrainingHistory]):
    """A training that may still be running.

    Attributes
    ----------
    history : TrainingHistory
        What happened so far; all of it is on disk too.
    progress : TrainingProgress or None
        The latest event of this kind.
    """

    _what = "training"

    def __init__(self, history: TrainingHistory, work: Callable[[TrainingJob], None], *, records: bool = True) -> None:
        """Make a job that is not started.

        Parameters
        ----------
        history : TrainingHistory
        work : callable
            Trains; emits events, returns soon after `cancelled()` is true, and calls `complete` if nothing is left.
        records : bool
            Write the events into the history; of several processes only one does.
        """
        super().__init__(history)
        self.history = history
        self.progress: TrainingProgress | None = None
        self._work = work
        self._records = records
        self._complete = False

    def subscribe(self, listener: TrainingListener) -> Callable[[], None]:
        """Call `listener` with every event from now on, after a replay of what the history holds.

        The listener runs in the worker thread and should return soon. A replayed validation reads its file only when
        its `run` is used, so a listener that keeps the event for later does not delay the training.

        Returns
        -------
        callable
            Ends the subscription.
        """
        return self._subscribe(listener, None)

    def start(self) -> TrainingJob:
        """Begin in a worker thread.

        Raises
        ------
        RuntimeError
            If it was started before.
        """
        self._start(Worker())
        return self

    def wait(self) -> TrainingHistory:
        """Start, and wait for the end; Ctrl-C saves a checkpoint, stops, and is raised then."""
        self.start()
        return self._finish()

    def complete(self) -> None:
        """Mark the training as done: `work` calls this when nothing is left to do."""
        self._complete = True

    def _do(self) -> None:
        work = self._work
        del self._work  # whoever keeps the job after its end does not keep the model and the optimizer
        work(self)

    def _enter(self, event: TrainingEvent) -> Iterator[TrainingEvent]:
        if isinstance(event, TrainingProgress):
            self.progress = event
        alarms: list[Alarm] = []
        try:
            alarms = self.history.record(event) if self._records else []
        except OSError:
            if not isinstance(event, Done):
                raise
            log.exception("the end of the training could not be written to disk")  # listeners must hear of it anyway
            self.history.status, self.history.message = event.status, event.message
        return iter([AlarmRaised(alarm) for alarm in alarms])

    def _replay(self) -> Iterator[TrainingEvent]:
        history = self.history
        losses = history.losses
        for row, (step, epoch) in enumerate(zip(losses["step"], losses["epoch"], strict=True)):
            values = {name: float(column[row]) for name, column in losses.items() if name not in ("step", "epoch")}
            yield LossLogged(int(step), int(epoch), {name: v for name, v in values.items() if not np.isnan(v)})
        for epoch in history.epochs:
            for index in range(len(history.validation_prompts)):
                if history.has(epoch, index):
                    yield StoredValidation(epoch, index, history.run)
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
