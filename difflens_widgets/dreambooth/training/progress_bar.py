"""A training that is waited for, with a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from ...runs.events import Message
from ..history.events import AlarmRaised, LossLogged, TrainingEvent, TrainingProgress
from ..job import TrainingJob

log = logging.getLogger(__name__)


@contextmanager
def shown(job: TrainingJob) -> Iterator[None]:
    """Meanwhile a bar counts the steps; notices and alarms go to the log."""
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
