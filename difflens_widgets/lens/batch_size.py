"""How many rows are denoised at once: the caller's number, a default, or the fastest one measured on this machine.

After a run was out of memory, the next ones start with what fitted.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any, Literal, overload

import torch

from ..models import checks
from ..models.view import PipelineView
from .batch import Batch
from .measured_batch import fastest_batch_size
from .memory import denoiser_of, estimate_memory, memory_for_activations
from .settings import SamplingSettings
from .stock_call import Control

log = logging.getLogger(__name__)

BatchChoice = int | Literal["auto"] | None
_Place = tuple[str, int, int]  # device, height, width
_GUARD = threading.Lock()
_FITTED: MutableMapping[torch.nn.Module, dict[_Place, int]] = weakref.WeakKeyDictionary()


class BatchSize:
    """The attribute `batch_size` of a lens: reads as a number; can be set to None (the default) and "auto", too."""

    @overload
    def __get__(self, lens: None, owner: type | None = None) -> BatchSize: ...
    @overload
    def __get__(self, lens: object, owner: type | None = None) -> int: ...
    def __get__(self, lens: Any, owner: type | None = None) -> int | BatchSize:
        """The number; of the class, this object."""
        if lens is None:
            return self
        choice = chosen(lens)
        return choice if isinstance(choice, int) else default_batch_size(lens.pipe, lens.pipe._execution_device)

    def __set__(self, lens: Any, value: BatchChoice) -> None:
        if value is not None and value != "auto":
            if isinstance(value, str):
                raise ValueError(f'batch_size: expected a whole number, or "auto", got {value!r}')
            value = checks.as_int("batch_size", value, at_least=1)
        vars(lens)["_batch_size"] = value


def chosen(lens: Any) -> BatchChoice:
    """What `batch_size` of a lens was set to."""
    choice: BatchChoice = vars(lens)["_batch_size"]
    return choice


def default_batch_size(pipe: Any, device: torch.device) -> int:
    """13, all layers of SD 1.5; on a CPU 1 for large denoisers, which gain nothing.

    The embedded model on two cores: 13 at once take 0.91 of the CPU time of 7 at once (0.73 of the time on a machine
    that does nothing else).
    """
    size = sum(parameter.numel() for parameter in denoiser_of(pipe).parameters())
    if device.type != "cpu":
        return 13 if size < 4_000_000_000 else 4  # the larger ones fill an accelerator with few rows
    return 13 if size < 50_000_000 else 1


def settings_that_fit(
    choice: BatchChoice | Literal["given"], batch: Batch, settings: SamplingSettings, control: Control
) -> SamplingSettings:
    """The settings of a run, with its batch size as it is decided where the run begins: the pipeline may have moved.

    Parameters
    ----------
    choice : int, "given", "auto" or None
        A number stays as it is ("given": that of `settings`); the default is reduced to what fits in memory by
        estimate; "auto" is measured. All are reduced to what fitted when an earlier run was out of memory.
    batch, settings, control
        As for `denoise`.
    """
    pipe, device, size = batch.view.pipe, batch.view.device, settings.batch_size
    if choice is None:
        size = _estimated_to_fit(pipe, device, default_batch_size(pipe, device), settings)
    elif choice == "auto":
        size = fastest_batch_size(batch, settings, control, default_batch_size(pipe, device))
    with _GUARD:
        fitted = _FITTED.get(denoiser_of(pipe), {})
        size = min(size, fitted.get(_place(device, settings), size))
    return replace(settings, batch_size=size)


def remember_batch_size(view: PipelineView, settings: SamplingSettings) -> None:
    """Note that memory ran out with more rows than these: until the process ends, runs start with this number."""
    with _GUARD:
        _FITTED.setdefault(denoiser_of(view.pipe), {})[_place(view.device, settings)] = settings.batch_size


def _place(device: torch.device, settings: SamplingSettings) -> _Place:
    return str(device), settings.height, settings.width


def _estimated_to_fit(pipe: Any, device: torch.device, size: int, settings: SamplingSettings) -> int:
    """`size`, or as many rows as the device's memory holds beside the weights, by estimate; at least one."""
    there = memory_for_activations(pipe, device)
    per_row = estimate_memory(pipe, 1, settings.height, settings.width, guided=settings.guidance_scale > 1)
    log.info("about %.2f GB for each of %d images at once, beside the weights", per_row / 1e9, size)
    if there is None:
        return size
    if per_row > there:
        log.warning(
            "%d × %d: one image takes about %.1f GB beside the weights, and %.1f GB are there; it may not fit",
            *(settings.width, settings.height, per_row / 1e9, there / 1e9),
        )
    return max(1, min(size, int(there // per_row)))
