"""Work on both cores of a small machine: parts in a thread of their own, rather than all threads in every operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

Result = TypeVar("Result")


def run_parallel(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Each call in a thread of its own, with its share of the cores. What is thread-local must be set in the calls."""
    shared = torch.get_num_threads()
    try:
        torch.set_num_threads(max(1, shared // len(calls)))
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda call: call(), calls))
    finally:
        torch.set_num_threads(shared)


def parts_of(device: torch.device) -> int:
    """In how many parts a batch is best worked on: one for each core of a CPU, but 1, 2 or 4, which divide batches."""
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    return max(parts for parts in (1, 2, 4) if parts <= cores)


def by_parts(loss_of: Callable[[slice], torch.Tensor], device: torch.device) -> list[Callable[[], torch.Tensor]]:
    """What gives the losses of equal parts of a batch: of every n-th row, from the first, second, ... one on."""
    parts = parts_of(device)
    return [partial(loss_of, slice(part, None, parts)) for part in range(parts)]
