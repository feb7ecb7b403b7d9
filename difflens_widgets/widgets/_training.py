"""What widgets of a training are given: its history, or a job that goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..dreambooth.history.events import TrainingEvent
from ..dreambooth.history.history import TrainingHistory


class Job(Protocol):
    """What a training that goes on has to offer: a `TrainingJob` does."""

    history: TrainingHistory

    def done(self) -> bool:
        """Whether nothing more will happen."""

    def cancel(self) -> None:
        """Stop soon; what there is stays."""

    def subscribe(self, listener: Callable[[TrainingEvent], None]) -> Callable[[], None]:
        """Call `listener` with everything so far and to come; returns what ends that."""


def parts_of(widget: str, source: Any) -> tuple[TrainingHistory | None, Job | None]:
    """The history to show, and the job that goes on with it; `widget` is named in the error.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if source is None or isinstance(source, TrainingHistory):
        return source, None
    history = getattr(source, "history", None)
    if isinstance(history, TrainingHistory) and callable(getattr(source, "subscribe", None)):
        return history, source
    raise TypeError(
        f"{widget} shows a TrainingHistory or a TrainingJob, not {type(source).__name__}: try "
        "train_dreambooth(config, start=True) or TrainingHistory.load(folder)"
    )
