"""What makes the noise of a run, in types that the record keeps: two runs with equal values have the same noise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from .settings import SamplingSettings

_DEPTH = 8


def noise_hashes(start_latents: Tensor, settings: SamplingSettings) -> dict[str, str]:
    """Hashes of the start latents of one row, and of the generator that draws the noise after them.

    Parameters
    ----------
    start_latents : Tensor
        As the pipeline prepared them, in the scale of its scheduler.
    settings : SamplingSettings

    Returns
    -------
    dict
        "latents_hash" and "generator_hash", 16 hexadecimal digits each.
    """
    values = np.ascontiguousarray(start_latents.float().cpu().numpy())
    state = settings.new_generator().get_state().cpu().numpy()
    return {"latents_hash": _digest(values), "generator_hash": _digest(state)}


def scheduler_config(scheduler: Any) -> dict[str, Any]:
    """The config of a scheduler in types that JSON has, without the names with a "_", which say where it was loaded."""
    return {name: _plain(value) for name, value in sorted(scheduler.config.items()) if not name.startswith("_")}


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return _plain(value.tolist(), depth)
    if isinstance(value, (list, tuple)) and depth < _DEPTH:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping) and depth < _DEPTH:
        return {str(name): _plain(item, depth + 1) for name, item in value.items()}
    return type(value).__name__


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(f"{values.shape}{values.dtype}".encode() + values.tobytes()).hexdigest()[:16]
