"""Runs units on an executor: some at a time, failed ones again, and on when a worker dies."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from functools import partial
from multiprocessing import get_context
from typing import Any

from .claims import Claims
from .units import Unit

log = logging.getLogger(__name__)

_IN_FLIGHT = 1024  # units that are submitted and not done
_POLL = 1.0  # seconds

Task = Callable[[Unit], tuple[Callable[..., Any], tuple[Any, ...]]]
"""unit → function and arguments, both of which an executor of other processes can send."""
Result = tuple[Unit, Any, BaseException | None]
"""unit, result, and the error that is left after all tries"""


class SameThread(Executor):
    """The executor of a sweep that is given none: runs each task in the caller's thread when it is submitted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the task and return a future that is done. Ctrl-C is raised here."""
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (raised again by `result`)
            done.set_exception(error)
        return done


def processes(number: int) -> Callable[[], Executor] | None:
    """What to give as `executor` for so many processes on this machine; None for one, which is this one."""
    # spawned: a fork of a process with torch's threads can hang
    return partial(ProcessPoolExecutor, number, get_context("spawn")) if number > 1 else None


class Pool:
    """An executor, or a function that makes one: then a broken one is replaced.

    Parameters
    ----------
    given : Executor, callable or None
    """

    def __init__(self, given: Executor | Callable[[], Executor] | None) -> None:
        if given is not None and not isinstance(given, Executor) and not callable(given):
            raise TypeError(
                f"executor: expected a concurrent.futures.Executor, or a function that makes one, got {given!r}"
            )
        self._make = given if callable(given) and not isinstance(given, Executor) else None
        self.executor: Executor = given if isinstance(given, Executor) else self._made() if self._make else SameThread()

    @property
    def elsewhere(self) -> bool:
        """Whether tasks may run in other processes."""
        return not isinstance(self.executor, SameThread | ThreadPoolExecutor)

    @property
    def workers(self) -> int | None:
        """How many workers there are, where the executor tells."""
        found = getattr(self.executor, "_max_workers", None)
        return found if isinstance(found, int) else None

    @property
    def in_flight(self) -> int:
        """How many units are submitted at a time."""
        return 1 if isinstance(self.executor, SameThread) else _IN_FLIGHT

    def replace(self) -> None:
        """Replace a broken executor.

        Raises
        ------
        RuntimeError
            If it was given ready-made.
        """
        if self._make is None:
            raise RuntimeError(
                "executor: a worker died, and took the executor with it; what was done is kept. Call sweep again with "
                "a new executor; given a function that makes one, such as lambda: ProcessPoolExecutor(2), sweep "
                "replaces it itself"
            )
        log.warning("a worker died; going on with a new executor")
        self.executor.shutdown(wait=False)
        self.executor = self._made()

    def close(self) -> None:
        """Shut the executor down, if it was made here."""
        if self._make is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)

    def _made(self) -> Executor:
        made = self._make() if self._make is not None else None
        if not isinstance(made, Executor):
            raise TypeError(f"executor: the function returned {made!r}, expected a concurrent.futures.Executor")
        return made


def run_units(
    units: Iterable[Unit],
    task: Task,
    pool: Pool,
    *,
    retries: int,
    claims: Claims | None = None,
    finished: Callable[[Unit], bool] = lambda unit: False,
) -> Iterator[Result]:
    """Run all units, in any order; yields each one once, when it is done or has failed `1 + retries` times.

    Parameters
    ----------
    units : iterable of Unit
    task : callable
        What a worker does for a unit.
    pool : Pool
    retries : int
    claims : Claims, optional
        A unit of another sweep that is alive comes last, and is left out if that sweep finishes it.
    finished : callable
        Whether a unit was finished by someone else; then it is yielded without a result.
    """
    waiting, suspects = deque(units), set[str]()
    others: deque[Unit] = deque()
    tries: dict[str, int] = {}
    running: dict[Future[Any], Unit] = {}
    try:
        while waiting or others or running:
            most = 1 if suspects else pool.in_flight
            try:
                while waiting and len(running) < most:
                    unit = waiting.popleft()
                    if finished(unit):
                        suspects.discard(unit.id)
                        yield unit, None, None
                    elif claims is not None and not claims.take(unit.id):
                        others.append(unit)
                    else:
                        waiting.appendleft(unit)  # until it is submitted
                        function, arguments = task(unit)
                        running[pool.executor.submit(function, *arguments)] = unit
                        waiting.popleft()
                        if isinstance(pool.executor, SameThread):
                            break
                if not running:
                    if others:
                        time.sleep(_POLL if not waiting else 0)
                        waiting.extend(others)
                        others.clear()
                    continue
                done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                if claims is not None:
                    claims.refresh()
                for future in done:
                    unit = running[future]
                    error = future.exception()
                    if isinstance(error, BrokenExecutor):
                        raise error
                    del running[future]
                    suspects.discard(unit.id)
                    if error is not None:
                        tries[unit.id] = tries.get(unit.id, 0) + 1
                        if tries[unit.id] <= retries:
                            log.warning("%r from seed %d failed and is tried again: %s", unit.prompt, unit.seed, error)
                            waiting.append(unit)
                            continue
                    yield unit, None if error is not None else future.result(), error
                    if claims is not None:
                        claims.release(unit.id)
            except BrokenExecutor as error:
                lost = list(running.values())
                running.clear()
                pool.replace()
                if len(lost) == 1:  # it was alone, so it did it
                    unit = lost[0]
                    tries[unit.id] = tries.get(unit.id, 0) + 1
                    if tries[unit.id] > retries:
                        suspects.discard(unit.id)
                        yield unit, None, error
                        if claims is not None:
                            claims.release(unit.id)
                        lost = []
                suspects |= {unit.id for unit in lost}
                waiting.extendleft(reversed(lost))  # one at a time now, to find the one that kills
    finally:
        for future in running:
            future.cancel()
        if claims is not None:
            claims.release_all()
