"""What every job is: work in a thread of its own that tells listeners how it goes, can be stopped and waited for."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

from .events import Done
from .openmp import release_threads

log = logging.getLogger(__name__)

Record = TypeVar("Record")


class BackgroundJob(ABC, Generic[Record]):
    """Work that fills a record, perhaps still going on; what a lens run and a training share.

    A kind of job says what it does (`_do`), what an event means for its record (`_enter`), what the record tells one
    who listens later (`_replay`), and how it ended (`_outcome`).
    """

    _what = "run"  # for messages

    def __init__(self, record: Record) -> None:
        self._record = record
        self._cancelled = threading.Event()
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self._listeners: dict[Callable[[Any], None], Any] = {}  # listener → what it asked for
        self._lock = threading.RLock()

    @property
    def done(self) -> bool:
        """True when nothing more will happen: finished, stopped or failed."""
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop within one step; what is done stays in the record. Cancelling twice does no harm."""
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> Record:
        """Wait for the work and return its record; one that was stopped is returned with what it has.

        Raises
        ------
        TimeoutError
            If it is not done after `timeout` seconds; it goes on.
        Exception
            What the work itself failed with.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"the {self._what} is not done after {timeout} s; it goes on")
        if self._error is not None:
            raise self._error
        return self._record

    def __await__(self) -> Generator[Any, None, Record]:
        return asyncio.to_thread(self.result).__await__()

    def _subscribe(self, listener: Callable[[Any], None], asks_for: Any) -> Callable[[], None]:
        with self._lock:
            over = False
            for event in self._replay():
                listener(event)
                over = isinstance(event, Done)
            if over:
                return lambda: None
            self._listeners[listener] = asks_for

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(listener, None)

        return unsubscribe

    def emit(self, event: Any) -> None:
        """Enter an event into the record and pass it on; a listener that fails is dropped, never the work."""
        with self._lock:
            for told in (event, *self._enter(event)):
                self._tell(told)

    def _tell(self, event: Any) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener of the %s failed and is dropped", self._what)
                del self._listeners[listener]

    def _start(self) -> None:
        release_threads()
        threading.Thread(target=self._main, name="difflens", daemon=True).start()

    def _main(self) -> None:
        try:
            self._do()
            self.emit(self._outcome())
        except BaseException as error:  # noqa: BLE001 (raised again in `result`)
            self._error = error
            self.emit(Done("failed", f"{type(error).__name__}: {error}"))
        finally:
            self._finished.set()

    @abstractmethod
    def _do(self) -> None:
        """Do the work; calls `emit` on the way and looks at `cancelled`."""

    @abstractmethod
    def _enter(self, event: Any) -> Iterator[Any]:
        """Enter an event into the record; yields further events that this causes."""

    @abstractmethod
    def _replay(self) -> Iterator[Any]:
        """What the record holds, as events; `Done` at the end if it is over."""

    @abstractmethod
    def _outcome(self) -> Done:
        """How it ended, when `_do` returned."""
