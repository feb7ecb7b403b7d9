"""The base of all jobs: a `concurrent.futures.Future` that sends events to listeners and can stop half-way."""

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

_PATIENCE = 60  # seconds to wait for running jobs at exit

Record = TypeVar("Record")
Listener = Callable[[Any], None]
_OPEN: weakref.WeakSet[BackgroundJob[Any]] = weakref.WeakSet()  # jobs that were started and have not ended


class BackgroundJob(Future[Record], Generic[Record]):
    """Work in the background that fills a record; the base of lens runs and trainings.

    It differs from other futures in one way: a cancelled job still has a result, the unfinished record.
    A subclass defines the work (`_do`), how an event enters the record (`_enter`), the events that a late listener gets
    (`_replay`), and how the job ended (`_outcome`).
    """

    _what = "run"  # the word for it in messages

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._stop = threading.Event()
        self._listeners: dict[Listener, Any] = {}  # listener → its option
        self._lock = threading.RLock()
        self._queued = False
        self._running = False

    def cancelled(self) -> bool:
        """True once `cancel` was called before the job ended."""
        return self._stop.is_set()

    def cancel(self) -> bool:
        """Stop: at once if the job has not begun, else within one step. The record keeps what is finished.

        Returns
        -------
        bool
            False if the job has already ended. To cancel twice is allowed.
        """
        if self.done():
            return False
        self._stop.set()
        with self._lock:
            waiting = self._queued and not self._running
            self._running = self._running or waiting  # then the worker skips this job
        if waiting:
            self._end(None)
        return True

    def result(self, timeout: float | None = None) -> Record:
        """Wait for the end and return the record; a stopped job returns what it has.

        Raises
        ------
        TimeoutError
            If the job is not done after `timeout` seconds; it goes on.
        Exception
            The error that the work raised.
        """
        try:
            return super().result(timeout)
        except FutureTimeoutError:  # on Python 3.10 it is not the built-in TimeoutError
            if self.done():
                raise  # raised by the work
            raise TimeoutError(f"the {self._what} is not done after {timeout} s; it goes on") from None

    def _finish(self) -> Record:
        """Wait for the end; Ctrl-C cancels the job, waits until it has stopped, and is raised again."""
        try:
            return self.result()
        except KeyboardInterrupt:
            self.cancel()
            self.result()
            raise

    def __await__(self) -> Generator[Any, None, Record]:
        return asyncio.to_thread(self.result).__await__()

    def emit(self, event: Any) -> None:
        """Enter an event into the record and send it to the listeners; if one raises, it is removed."""
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
        """Note that the job was started.

        Raises
        ------
        RuntimeError
            If it was started before: a job runs once.
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
            if self._running:  # cancelled while it was queued
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
        except BaseException as late:  # noqa: BLE001 (the last event failed: the job ends with this error)
            error = error or late
        _OPEN.discard(self)
        if error is not None:
            self.set_exception(error)
        else:
            self.set_result(self._record)

    @abstractmethod
    def _do(self) -> None:
        """Do the work: call `emit` on the way, and check `cancelled`."""

    @abstractmethod
    def _enter(self, event: Any) -> Iterator[Any]:
        """Enter an event into the record; yield the events that follow from it."""

    @abstractmethod
    def _replay(self) -> Iterator[Any]:
        """The content of the record as events, with `Done` at the end if the job has ended."""

    @abstractmethod
    def _outcome(self) -> Done:
        """How the job ended, if `_do` raised no error."""


@atexit.register
def _stop_all() -> None:
    """Stop running jobs when the interpreter exits: a thread that computes after that would crash it."""
    jobs = list(_OPEN)
    for job in jobs:
        job.cancel()
    wait(jobs, timeout=_PATIENCE)
