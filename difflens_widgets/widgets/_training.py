"""The sources of widgets that show a training: its history, or the job that trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..dreambooth.history.events import TrainingEvent
from ..dreambooth.history.history import TrainingHistory


class Job(Protocol):
    """The part of a `TrainingJob` that a widget uses."""

    history: TrainingHistory

    def done(self) -> bool:
        """Whether the training is over."""

    def cancel(self) -> None:
        """Stop within one step; what was recorded is kept."""

    def subscribe(self, listener: Callable[[TrainingEvent], None]) -> Callable[[], None]:
        """Call `listener` with all events, past and future; returns a function that ends that."""


def parts_of(widget: str, source: Any) -> tuple[TrainingHistory | None, Job | None]:
    """The history to show, and the job that continues it, if any; `widget` is named in the error.

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
        "start_dreambooth(config) or TrainingHistory.load(folder)"
    )
