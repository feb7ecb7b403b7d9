"""A worker: tasks one after another, in the order they were given, in one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from .openmp import release_threads

Task = Callable[[], None]


class Worker:
    """Runs its tasks in a thread that is there only while there is something to do.

    The thread is a daemon: what still runs when the interpreter exits is stopped by `runs.background`, not waited for
    without end, as the threads of `concurrent.futures` are. A task must not raise.
    """

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def require_other_thread(self) -> None:
        """Refuse to wait for this worker from within one of its own tasks.

        Raises
        ------
        RuntimeError
            Where waiting would never end.
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
            del task  # it holds a run and its pictures
