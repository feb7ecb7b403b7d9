"""Runs what an experiment asks of one lens many times, here or in other processes, behind a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from types import TracebackType

from tqdm.auto import tqdm

from ...lens.diffusion_lens import DiffusionLens
from .claims import Claims
from .engine import Pool, Result, Task, run_units
from .units import Unit
from .worker import recipe_for


def opened(
    lens: DiffusionLens | Callable[[], DiffusionLens],
) -> tuple[DiffusionLens, Callable[[], DiffusionLens] | None]:
    """The lens that was given, or that the given function returns, and this function.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(lens, DiffusionLens):
        return lens, None
    if not callable(lens):
        raise TypeError(f"lens: expected a DiffusionLens, or a function that returns one, got {type(lens).__name__}")
    found = lens()
    if not isinstance(found, DiffusionLens):
        raise TypeError(f"lens: the function returned {type(found).__name__}, expected a DiffusionLens")
    return found, lens


class Runner:
    """The workers of an experiment, and how they get its lens; to be used as a context manager.

    Parameters
    ----------
    lens : DiffusionLens
    load : callable or None
        A function that returns the lens, where other processes cannot load it by themselves.
    executor : concurrent.futures.Executor, or a function that makes one, or None
        As in `sweep`.

    Attributes
    ----------
    recipe : Recipe
        For the functions that run in a worker.

    Raises
    ------
    ValueError, TypeError
        If the executor is none, or another process cannot load this lens.
    """

    def __init__(
        self,
        lens: DiffusionLens,
        load: Callable[[], DiffusionLens] | None,
        executor: Executor | Callable[[], Executor] | None,
    ) -> None:
        self._pool = Pool(executor)
        try:
            self.recipe = recipe_for(lens, load, elsewhere=self._pool.elsewhere)
        except BaseException:
            self._pool.close()
            raise
        if self._pool.elsewhere and self._pool.workers:  # else each worker would take all cores
            self.recipe = replace(self.recipe, threads=max(1, (os.cpu_count() or 1) // self._pool.workers))

    @property
    def elsewhere(self) -> bool:
        """Whether the workers may be other processes."""
        return self._pool.elsewhere

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def run(
        self,
        units: Sequence[Unit],
        task: Task,
        *,
        name: str,
        total: int | None = None,
        retries: int = 1,
        claims: Claims | None = None,
        finished: Callable[[Unit], bool] = lambda unit: False,
    ) -> Iterator[Result]:
        """Run all units, as `run_units`; `total` are those of the whole experiment, with the ones done before."""
        whole = len(units) if total is None else total
        # the average since the start: a rate of the last seconds would jump with every result
        with tqdm(total=whole, initial=whole - len(units), desc=name, unit="run", smoothing=0, mininterval=1) as bar:
            for result in run_units(units, task, self._pool, retries=retries, claims=claims, finished=finished):
                yield result
                bar.update()
