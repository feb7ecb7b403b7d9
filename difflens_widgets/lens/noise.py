"""What makes the noise of a run, in types that the record keeps: two runs with equal values have the same noise."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from .json_values import plain
from .settings import SamplingSettings


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
    return {name: plain(value) for name, value in sorted(scheduler.config.items()) if not name.startswith("_")}


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(f"{values.shape}{values.dtype}".encode() + values.tobytes()).hexdigest()[:16]
