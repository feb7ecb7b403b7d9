"""TaskThread: the thread in which a widget encodes pictures, sends them and sets traits while a job denoises."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_LINGER = 2.0  # seconds; an idle thread ends after this time


class TaskThread:
    """Runs posted tasks one after another in a thread of its own, and calls `tick` after each of them.

    The thread starts with the first task and ends after two idle seconds: an idle widget has no thread.

    Parameters
    ----------
    tick : callable
        Called after each task, after `wake`, and when the time that it returned is over. It returns the seconds until
        it wants to be called again, or None.
    """

    def __init__(self, tick: Callable[[], float | None]) -> None:
        self._tick = tick
        self._tasks: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._woken = False
        self._closed = False

    def post(self, task: Callable[[], None]) -> None:
        """Run `task` after those posted before; after `close` it is ignored. An exception in `task` is logged."""
        with self._changed:
            if self._closed:
                return
            self._tasks.append(task)
            self._ensure_thread()
            self._changed.notify_all()

    def wake(self) -> None:
        """Call `tick` as soon as the thread is free."""
        with self._changed:
            if self._closed:
                return
            self._woken = True
            self._ensure_thread()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until every posted task has run.

        Parameters
        ----------
        timeout : float
            Seconds to wait at most.

        Returns
        -------
        bool
            False if the time was too short, or if the caller is a task of this thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks and not self._busy, timeout)

    def close(self) -> None:
        """Drop the tasks that have not begun and end the thread."""
        with self._changed:
            self._closed = True
            self._tasks.clear()
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """True while the thread is alive."""
        return self._thread is not None

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="difflens-widget", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        wait: float | None = None
        while self._await_work(wait):
            self._run_next()
            wait = self._guarded(self._tick)

    def _await_work(self, wait: float | None) -> bool:
        """Sleep until there is a task or a call of `wake`, or for `wait` seconds; False when the thread has to end."""
        until = time.monotonic() + (_LINGER if wait is None else wait)
        with self._changed:
            while not (self._tasks or self._woken or self._closed):
                left = until - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                elif wait is None:
                    break
                else:
                    return True
            if self._closed or not (self._tasks or self._woken):
                self._thread = None
                return False
            self._woken = False
            return True

    def _run_next(self) -> None:
        with self._changed:
            task = self._tasks.popleft() if self._tasks else None
            self._busy = task is not None
        if task is not None:
            self._guarded(task)
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    @staticmethod
    def _guarded(call: Callable[[], float | None] | Callable[[], None]) -> float | None:
        try:
            return call()
        except Exception:  # for example in a user's observer of a trait: the pictures that follow still have to be sent
            log.exception("a widget's update failed")
            return None
