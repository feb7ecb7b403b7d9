"""Pipelines that share modules run one after another: each set of shared modules has one worker."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

from ..runs.worker import Worker

T = TypeVar("T")

_GUARD = threading.Lock()
_WORKERS: weakref.WeakKeyDictionary[torch.nn.Module, Worker] = weakref.WeakKeyDictionary()
_LOCKS: weakref.WeakKeyDictionary[torch.nn.Module, _ModuleLock] = weakref.WeakKeyDictionary()
_POLL = 0.2  # seconds between two looks at who holds a module


class _ModuleLock:
    """A lock on a module that knows which worker holds it, so that a circle of waiting is an error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: Worker | None = None

    def __enter__(self) -> None:
        while not self._lock.acquire(blocking=False):
            holder = self._holder
            if holder is None:
                got = self._lock.acquire(timeout=_POLL)
            else:
                with holder.awaited():  # it may wait for this worker in turn
                    got = self._lock.acquire(timeout=_POLL)
            if got:
                break
        self._holder = Worker.here()

    def __exit__(self, *_: object) -> None:
        self._holder = None
        self._lock.release()


def worker_of(pipe: Any) -> Worker:
    """The worker of a pipeline; pipelines that share a module have the same one."""
    modules = _modules_of(pipe)
    with _GUARD:
        worker = next((_WORKERS[module] for module in modules if module in _WORKERS), None) or Worker()
        for module in modules:
            _WORKERS.setdefault(module, worker)
        return worker


@contextmanager
def modules_in_use(pipe: Any) -> Iterator[None]:
    """Lock the modules of a pipeline: pipelines with different workers may have come to share a module later."""
    with _GUARD:
        locks = [_LOCKS.setdefault(module, _ModuleLock()) for module in sorted(_modules_of(pipe), key=id)]
    with ExitStack() as held:
        for lock in locks:  # always in the same order: no deadlock
            held.enter_context(lock)
        yield


def run_in_worker(pipe: Any, function: Callable[[], T]) -> T:
    """Run a function on a pipeline between its jobs, and wait for the result.

    Raises
    ------
    RuntimeError
        If called from one of its jobs, or from a job that holds one of its modules: it would wait for itself.
    """
    worker = worker_of(pipe)
    answer: Future[T] = Future()

    def work() -> None:
        try:
            with modules_in_use(pipe), torch.inference_mode():
                answer.set_result(function())
        except BaseException as error:  # noqa: BLE001 (raised again in the caller's thread)
            answer.set_exception(error)

    with worker.awaited():
        worker.submit(work)
        return answer.result()


def _modules_of(pipe: Any) -> list[torch.nn.Module]:
    return list(dict.fromkeys(part for part in pipe.components.values() if isinstance(part, torch.nn.Module)))
