"""What every job is: a `concurrent.futures.Future` that tells listeners how it goes, and can be stopped half-way."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, TypeVar

from .events import Done
from .worker import Worker

log = logging.getLogger(__name__)

_PATIENCE = 60  # seconds that a step may take at exit

Record = TypeVar("Record")
Listener = Callable[[Any], None]
_OPEN: weakref.WeakSet[BackgroundJob[Any]] = weakref.WeakSet()  # started, and not over


class BackgroundJob(Future[Record], Generic[Record]):
    """Work that fills a record, perhaps still going on; what a lens run and a training share.

    It differs from other futures in one thing: one that was cancelled still has a result, the record with what was
    finished before. A kind of job says what it does (`_do`), what an event means for its record (`_enter`), what the
    record tells one who listens later (`_replay`), and how it ended (`_outcome`).
    """

    _what = "run"  # for messages

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._stop = threading.Event()
        self._listeners: dict[Listener, Any] = {}  # listener → what it asked for
        self._lock = threading.RLock()
        self._queued = False
        self._running = False

    def cancelled(self) -> bool:
        """True once `cancel` was called while there was something left to do."""
        return self._stop.is_set()

    def cancel(self) -> bool:
        """Stop: at once if it has not begun, else within one step; what is done stays in the record.

        Returns
        -------
        bool
            False if it was over already. Cancelling twice does no harm.
        """
        if self.done():
            return False
        self._stop.set()
        with self._lock:
            waiting = self._queued and not self._running
            self._running = self._running or waiting  # then the worker passes it by
        if waiting:
            self._end(None)
        return True

    def result(self, timeout: float | None = None) -> Record:
        """Wait for the work and return its record; one that was stopped is returned with what it has.

        Raises
        ------
        TimeoutError
            If it is not done after `timeout` seconds; it goes on.
        Exception
            What the work itself failed with.
        """
        try:
            return super().result(timeout)
        except FutureTimeoutError:  # on Python 3.10 no TimeoutError
            if self.done():
                raise  # the work's own
            raise TimeoutError(f"the {self._what} is not done after {timeout} s; it goes on") from None

    def _finish(self) -> Record:
        """Wait for the end; Ctrl-C stops the work in good order, and is raised then."""
        try:
            return self.result()
        except KeyboardInterrupt:
            self.cancel()
            self.result()
            raise

    def __await__(self) -> Generator[Any, None, Record]:
        return asyncio.to_thread(self.result).__await__()

    def emit(self, event: Any) -> None:
        """Enter an event into the record and pass it on; a listener that fails is dropped, never the work."""
        with self._lock:
            for told in (event, *self._enter(event)):
                self._tell(told)

    def _subscribe(self, listener: Listener, asks_for: Any) -> Callable[[], None]:
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

    def _tell(self, event: Any) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener of the %s failed and is dropped", self._what)
                self._listeners.pop(listener, None)  # it may have unsubscribed itself

    def _begin(self) -> None:
        """Note that the work was handed over.

        Raises
        ------
        RuntimeError
            If it was before: a job runs once.
        """
        with self._lock:
            if self._queued:
                state = "over" if self.done() else "running"
                raise RuntimeError(f"this {self._what} is {state} already; a job runs once: start another")
            self._queued = True
        _OPEN.add(self)

    def _start(self, worker: Worker) -> None:
        self._begin()
        worker.submit(self._main)

    def _main(self) -> None:
        with self._lock:
            if self._running:  # cancelled while it waited
                return
            self._running = True
        self.set_running_or_notify_cancel()
        try:
            self._do()
        except BaseException as error:  # noqa: BLE001 (raised again in `result`)
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        try:
            self.emit(self._outcome() if error is None else Done("failed", f"{type(error).__name__}: {error}"))
        except BaseException as late:  # noqa: BLE001 (the record could not be closed: that is how the job ended)
            error = error or late
        _OPEN.discard(self)
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(self._record)

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


@atexit.register
def _stop_all() -> None:
    """Stop what still runs when the interpreter exits: a thread that computes then would crash it."""
    jobs = list(_OPEN)
    for job in jobs:
        job.cancel()
    wait(jobs, timeout=_PATIENCE)
