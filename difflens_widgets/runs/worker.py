"""A worker: runs tasks one after another, in the order of submission, in one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .openmp import release_threads

Task = Callable[[], None]


class Worker:
    """Runs tasks in a thread that exists only while there are tasks.

    The thread is a daemon: when the interpreter exits, `runs.background` stops its job and waits for a limited time,
    while `concurrent.futures` would wait without limit. A task must not raise.
    """

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def require_other_thread(self) -> None:
        """Raise an error if this is called in one of the worker's own tasks, which must not wait for the worker.

        Raises
        ------
        RuntimeError
            If it is: to wait would never end.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "this is called from within a run of the same pipeline (on_step, or a listener), which it would wait "
                "for: take lens.start(...), or call it after the run"
            )

    def submit(self, task: Task) -> None:
        """Queue a task and return at once."""
        release_threads()
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="difflens", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._tasks:
                    self._thread = None
                    return
                task = self._tasks.popleft()
            task()
            del task  # it holds a run and its images
