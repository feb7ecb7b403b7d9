"""Pump: one thread that does a widget's work beside the denoising: encode, send, set traits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_LINGER = 2.0  # seconds without work until the thread ends


class Pump:
    """Runs posted tasks in order, and `tick` between them.

    The thread begins with the first task and ends when there is nothing to do, so a widget at rest has none.

    Parameters
    ----------
    tick : callable
        Called after each task and whenever it asked to be; returns the seconds until the next call, None for no wish.
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
        """Run `task` soon, after those posted before; ignored once closed."""
        with self._changed:
            if self._closed:
                return
            self._tasks.append(task)
            self._ensure_thread()
            self._changed.notify_all()

    def wake(self) -> None:
        """Call `tick` soon."""
        with self._changed:
            if self._closed:
                return
            self._woken = True
            self._ensure_thread()
            self._changed.notify_all()

    def drain(self, timeout: float) -> bool:
        """Wait until everything posted has run; False if that took longer than `timeout` seconds."""
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks and not self._busy, timeout)

    def close(self) -> None:
        """Drop what is left and let the thread end."""
        with self._changed:
            self._closed = True
            self._tasks.clear()
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """True while there is a thread."""
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
        """Sleep until a task, a wake or the time is there; False when the thread shall end."""
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
        except Exception:  # also a user's observer of a trait: it must not end the pictures of the run
            log.exception("a widget's update failed")
            return None
