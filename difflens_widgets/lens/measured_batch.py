"""`batch_size="auto"`: the fastest number of rows at once, measured once for each model, device, dtype and size."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..runs.format.atomic_write import replacing
from ..runs.result_store import user_cache_folder
from .batch import Batch
from .memory import denoiser_of, free_memory, out_of_memory
from .settings import SamplingSettings
from .stock_call import Cancelled, Control, RunSoFar, StockCall

log = logging.getLogger(__name__)

FILE = "batch_sizes.json"
_SIZES = (1, 2, 4, 7, 13, 26)
_GAIN = 0.97  # a larger batch is taken if it needs less than this share of the time
_STEPS, _REPEATS = 2, 2
_GUARD = threading.Lock()
_MEASURED: dict[str, int] = {}  # of this process: the file may not be writable


def fastest_batch_size(batch: Batch, settings: SamplingSettings, control: Control, default: int) -> int:
    """The fastest batch size of runs like this one, from the file of earlier measurements or measured now.

    It is kept for good, because the last bits of an image depend on it. A measurement paints a few rows, with ever more
    at once, until the time of a row no longer falls. If it is cancelled, or none fits in memory, `default`.
    """
    key = _key(batch.view.pipe, settings)
    path = user_cache_folder() / FILE
    with _GUARD:
        known = _MEASURED.get(key) or _read(path).get(key)
    if known:
        return known
    began = time.monotonic()
    try:
        size = _measure(lambda rows: _seconds(batch, settings, control, rows))
    except Cancelled:
        return default
    if size is None:
        return default
    log.info("%d rows at once are fastest (measured in %.1f s): %s", size, time.monotonic() - began, key)
    return _keep(path, key, size)


def _measure(seconds: Callable[[int], float | None]) -> int | None:
    """The size whose time per row is least; a larger one must gain something. None: not even one row fits."""
    best, least = None, float("inf")
    for size in _SIZES:
        spent = seconds(size)
        if spent is None or spent / size > _GAIN * least:
            break
        best, least = size, spent / size
    return best


def _seconds(batch: Batch, settings: SamplingSettings, control: Control, size: int) -> float | None:
    """Seconds that a call with `size` rows takes with all its steps; None: it does not fit in memory.

    The least of some calls with few steps: on a busy machine the others say how busy it is.
    """
    few = replace(settings, num_inference_steps=_STEPS, snapshots=frozenset(), on_step=None)
    row = batch.rows[0]
    without_attention = replace(batch, plan=None)
    spent: list[float] = []
    for _ in range(_REPEATS):
        call = StockCall(without_attention, few, _ignore, _Unwatched(control), {0: row}, size, _ignore, RunSoFar())
        try:
            forwards, whole = _timed(denoiser_of(batch.view.pipe), call.paint)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            spent = []
            break
        each = min(forwards)
        spent.append(each * settings.num_inference_steps + max(0.0, whole - sum(forwards)))
    if not spent:
        free_memory()
        return None
    return min(spent)


def _timed(denoiser: torch.nn.Module, work: Callable[[], object]) -> tuple[list[float], float]:
    """Call `work`; return the seconds of each forward of the denoiser in this thread, and of all."""
    here, forwards = threading.get_ident(), []
    began = 0.0

    def begin(*_: Any) -> None:
        nonlocal began
        if threading.get_ident() == here:
            began = _now(denoiser)

    def end(*_: Any) -> None:
        if threading.get_ident() == here:
            forwards.append(_now(denoiser) - began)

    hooks = [denoiser.register_forward_pre_hook(begin), denoiser.register_forward_hook(end)]
    try:
        start = _now(denoiser)
        work()
        return forwards, _now(denoiser) - start
    finally:
        for hook in hooks:
            hook.remove()


def _now(denoiser: torch.nn.Module) -> float:
    """The time when the device has done all that it was given."""
    synchronize = getattr(getattr(torch, next(denoiser.parameters()).device.type, None), "synchronize", None)
    if synchronize is not None:
        synchronize()
    return time.perf_counter()


class _Unwatched:
    """The control of a measurement: it can be cancelled, and shows nothing."""

    focus: int | None = None
    watched = False

    def __init__(self, control: Control) -> None:
        self.cancelled = control.cancelled


def _ignore(*_: object) -> None:
    pass


def _key(pipe: Any, settings: SamplingSettings) -> str:
    """Model, device, dtype, size and torch's version; models that differ only in their weights have one key."""
    denoiser: Any = denoiser_of(pipe)
    device: torch.device = pipe._execution_device
    config = json.dumps(dict(denoiser.config), sort_keys=True, default=str)
    shapes = sum(parameter.numel() for parameter in denoiser.parameters())
    model = f"{type(denoiser).__name__} {hashlib.sha256(config.encode()).hexdigest()[:12]} {shapes}"
    name = getattr(getattr(torch, device.type, None), "get_device_name", None)
    where = str(name(device)) if name else f"{platform.machine()} {torch.get_num_threads()} threads"
    guided = "guided" if settings.guidance_scale > 1 else "not guided"
    dtype = str(next(denoiser.parameters()).dtype).removeprefix("torch.")
    size = f"{settings.width} × {settings.height}"
    return f"{model}, {device.type} {where}, {dtype}, {size}, {guided}, torch {torch.__version__}"


def _read(path: Path) -> dict[str, int]:
    """The measurements in the file; a damaged or missing file has none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {key: size for key, size in items if type(size) is int and size in _SIZES}


def _keep(path: Path, key: str, size: int) -> int:
    """Note a measurement, unless another process was faster; return what holds from now on."""
    with _GUARD:
        known = _read(path)
        size = _MEASURED.setdefault(key, known.get(key, size))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, "the measured batch sizes") as file:
                file.write(json.dumps({**known, key: size}, indent=1, ensure_ascii=False).encode())
        except OSError as error:  # measured again in the next process
            log.info("%s: %s", path, error)
        return size
