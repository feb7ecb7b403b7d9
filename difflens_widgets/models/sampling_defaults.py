"""A model's own default number of steps and guidance scale.

A diffusers folder can state them in `FILE`: a small model needs fewer steps than a large one, and at the usual guidance
scale of Stable Diffusion its images get blotches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from . import checks, family_of
from .stated import read_stated

FILE = "sampling_defaults.json"


class SamplingDefaults(NamedTuple):
    """The sampling defaults of a model; the values here are for models that state none."""

    num_inference_steps: int = 20
    guidance_scale: float = 7.5


def chosen_or_default(pipe: Any, num_inference_steps: int | None, guidance_scale: float | None) -> SamplingDefaults:
    """What a user chose, and the model's defaults in place of None; raises as `sampling_defaults`."""
    if num_inference_steps is not None and guidance_scale is not None:
        return SamplingDefaults(num_inference_steps, guidance_scale)
    own = sampling_defaults(pipe)
    return SamplingDefaults(
        own.num_inference_steps if num_inference_steps is None else num_inference_steps,
        own.guidance_scale if guidance_scale is None else guidance_scale,
    )


def sampling_defaults(pipe: Any) -> SamplingDefaults:
    """The defaults in the folder of `pipe`, or those of its family and of the stock pipeline if it states none.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    stated = read_stated(pipe, FILE, "sampling defaults", _parse)
    if stated is not None:
        return stated
    family = family_of(pipe)
    stock = family.call_defaults(pipe)
    usual = {"num_inference_steps": stock["num_inference_steps"], "guidance_scale": stock.get(family.guidance, 0.0)}
    return SamplingDefaults(**{**usual, **(family.defaults(pipe) if family.defaults else {})})


def _parse(stated: Any) -> SamplingDefaults:
    found = SamplingDefaults(**stated)
    return SamplingDefaults(
        checks.as_int("num_inference_steps", found.num_inference_steps, at_least=1),
        checks.non_negative("guidance_scale", found.guidance_scale),
    )


def write_sampling_defaults(folder: Path, defaults: SamplingDefaults) -> None:
    """Write `defaults` to a diffusers folder."""
    (folder / FILE).write_text(json.dumps(defaults._asdict(), indent=2) + "\n", encoding="utf-8")
