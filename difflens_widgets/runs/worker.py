"""A worker: runs tasks one after another, in the order of submission, in one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .openmp import release_threads

Task = Callable[[], None]

_HERE = threading.local()  # .worker: the worker whose thread this is
_GUARD = threading.Lock()
_WAITING: dict[Worker, Worker] = {}  # a worker whose task waits → the worker that it waits for


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
        """Raise an error if a task of this thread must not wait for the worker.

        Raises
        ------
        RuntimeError
            If it is the worker's own task, or one that the worker itself waits for: to wait would never end.
        """
        with self.awaited():
            pass

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Note that the task of this thread, if it is one, waits for this worker in the block.

        Raises
        ------
        RuntimeError
            As `require_other_thread`.
        """
        own: Worker | None = getattr(_HERE, "worker", None)
        if own is None:
            yield
            return
        with _GUARD:
            each: Worker | None = self
            while each is not None:
                if each is own:
                    raise RuntimeError(
                        "this is called from within a run of the same pipeline (on_step, or a listener), which it "
                        "would wait for: take lens.start(...), or call it after the run"
                    )
                each = _WAITING.get(each)
            before = _WAITING.get(own)
            _WAITING[own] = self
        try:
            yield
        finally:
            with _GUARD:
                if before is None:
                    _WAITING.pop(own, None)
                else:
                    _WAITING[own] = before

    @staticmethod
    def here() -> Worker | None:
        """The worker whose thread this is, if any."""
        return getattr(_HERE, "worker", None)

    def submit(self, task: Task) -> None:
        """Queue a task and return at once."""
        release_threads()
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="difflens", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        _HERE.worker = self
        while True:
            with self._lock:
                if not self._tasks:
                    self._thread = None
                    return
                task = self._tasks.popleft()
            task()
            del task  # it holds a run and its images
