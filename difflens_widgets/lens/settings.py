"""The arguments of a run: checked before anything is computed, and described for the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar

import diffusers
import numpy as np
import torch
import transformers
from torch import Tensor

from .._version import __version__
from ..attention.capture import AttentionChoice
from ..models import checks
from ..models.sampling_defaults import sampling_defaults
from .batch import StepListener, rows_per_call
from .edits import Slots
from .json_values import plain
from .quality import Quality, require_quality, steps_of
from .token_mask import TokenChoice

P = ParamSpec("P")
T = TypeVar("T")


class RunOptions(TypedDict, total=False):
    """The arguments of `DiffusionLens.start` except the prompt; see there."""

    layers: Iterable[int] | None
    negative_prompt: str | None
    seed: int | torch.Generator
    num_inference_steps: int | None
    guidance_scale: float | None
    true_cfg_scale: float | None
    guidance_rescale: float
    eta: float
    cross_attention_kwargs: Mapping[str, Any] | None
    negative_prompt_embeds: Tensor | None
    height: int | None
    width: int | None
    latents: Tensor | None
    snapshots: Iterable[int] | None
    keep_tokens: TokenChoice | None
    attention: AttentionChoice
    quality: Quality
    on_step: StepListener | None
    slots: Slots
    cache: bool


DEFAULTS: RunOptions = {
    "layers": None,
    "negative_prompt": None,
    "seed": 0,
    "num_inference_steps": None,
    "guidance_scale": None,
    "true_cfg_scale": None,
    "guidance_rescale": 0.0,
    "eta": 0.0,
    "cross_attention_kwargs": None,
    "negative_prompt_embeds": None,
    "height": None,
    "width": None,
    "latents": None,
    "snapshots": None,
    "keep_tokens": None,
    "attention": False,
    "quality": "exact",
    "on_step": None,
    "slots": "cut",
    "cache": True,
}


@dataclass(frozen=True)
class SamplingSettings:
    """How all rows of a run are denoised; names and meanings as in the stock pipeline.

    If `seed` is a generator, each row starts from a copy of its state. `on_step` is called for the layers of the whole
    prompt only.
    """

    seed: int | torch.Generator
    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    batch_size: int
    latents: Tensor | None = None
    snapshots: frozenset[int] = frozenset()
    true_cfg_scale: float | None = None
    guidance_rescale: float = 0.0
    eta: float = 0.0
    cross_attention_kwargs: Mapping[str, Any] | None = None
    negative_prompt_embeds: Tensor | None = None
    on_step: StepListener | None = None
    slots: Slots = "cut"
    cache: bool = True
    batch_invariant: bool = False
    quality: Quality = "exact"

    def rows_per_call(self, total: int) -> int:
        """How many rows each call of a run has that denoises `total` rows, padding included."""
        return self.batch_size if self.batch_invariant else rows_per_call(total, self.batch_size)

    @property
    def lora_scale(self) -> float | None:
        """The strength of LoRA weights in the text encoder, read where the stock pipeline reads it."""
        return (self.cross_attention_kwargs or {}).get("scale")

    @property
    def seed_number(self) -> int:
        """The seed; for a generator, its initial seed."""
        return self.seed if isinstance(self.seed, int) else self.seed.initial_seed()

    def new_generator(self) -> torch.Generator:
        """A new generator for one row; those of all rows draw the same noise."""
        if isinstance(self.seed, int):
            return torch.Generator().manual_seed(self.seed)
        generator = torch.Generator(self.seed.device)
        generator.set_state(self.seed.get_state())
        return generator


_NOT_EVERYWHERE = ("guidance_rescale", "eta", "cross_attention_kwargs")


def read_settings(
    pipe: Any, batch_size: int, options: RunOptions, reads: int = 1, *, batch_invariant: bool = False
) -> SamplingSettings:
    """Check the arguments that control denoising; `options` must hold all of them. The pipeline reads `reads` states.

    Raises
    ------
    ValueError, TypeError
        If one is not valid. The message names the argument, its value and what was expected.
    """
    checks.text_only(pipe)
    defaults = sampling_defaults(pipe)
    steps, guidance_scale = options["num_inference_steps"], options["guidance_scale"]
    steps = checks.as_int("num_inference_steps", defaults.num_inference_steps if steps is None else steps, at_least=1)
    quality = require_quality(options["quality"])
    steps = steps_of(quality, steps)
    guidance_scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    guidance_scale = checks.non_negative("guidance_scale", guidance_scale)
    checks.guidance(pipe, options["negative_prompt"], options["true_cfg_scale"], guidance_scale)
    passed_on: Mapping[str, Any] = options
    true_cfg_scale = options["true_cfg_scale"]
    checks.require_arguments(pipe, {name: passed_on[name] for name in _NOT_EVERYWHERE})
    height, width = checks.size(pipe, options["height"], options["width"])
    return SamplingSettings(
        seed=checks.seed(options["seed"]),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        true_cfg_scale=None if true_cfg_scale is None else checks.non_negative("true_cfg_scale", true_cfg_scale),
        height=height,
        width=width,
        batch_size=batch_size,
        latents=checks.latents(pipe, options["latents"], height, width),
        snapshots=_snapshots(options["snapshots"], steps, quality),
        guidance_rescale=checks.non_negative("guidance_rescale", options["guidance_rescale"]),
        eta=checks.non_negative("eta", options["eta"]),
        cross_attention_kwargs=checks.mapping_or_none("cross_attention_kwargs", options["cross_attention_kwargs"]),
        negative_prompt_embeds=checks.negative_embeds(
            pipe, options["negative_prompt_embeds"], options["negative_prompt"]
        ),
        on_step=checks.callable_or_none("on_step", options["on_step"]),
        slots=checks.slots(options["slots"], reads),
        cache=checks.boolean("cache", options["cache"]),
        batch_invariant=batch_invariant,
        quality=quality,
    )


def _snapshots(steps: Iterable[int] | None, number: int, quality: Quality) -> frozenset[int]:
    try:
        return checks.snapshots(steps, number)
    except ValueError as error:
        if quality == "exact":
            raise
        raise ValueError(f"{error}; this draft takes {number} steps") from None


_KEPT = (str, int, float, np.number)  # of cross_attention_kwargs


def describe(pipe: Any, settings: SamplingSettings, negative_prompt: str | None) -> dict[str, Any]:
    """The settings that the record keeps, in types that JSON has."""
    passed_on = settings.cross_attention_kwargs or {}
    return {
        "scheduler": type(pipe.scheduler).__name__,
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "negative_prompt": negative_prompt,
        "own_negative_embeds": settings.negative_prompt_embeds is not None,
        "num_inference_steps": settings.num_inference_steps,
        "quality": settings.quality,
        "snapshots": sorted(settings.snapshots),
        "guidance_scale": settings.guidance_scale,
        "true_cfg_scale": settings.true_cfg_scale,
        "guidance_rescale": settings.guidance_rescale,
        "eta": settings.eta,
        "cross_attention_kwargs": {name: plain(v) for name, v in passed_on.items() if isinstance(v, _KEPT)},
        "height": settings.height,
        "width": settings.width,
        "batch_size": settings.batch_size,
        "batch_invariant": settings.batch_invariant,
        "own_latents": settings.latents is not None,
        "own_generator": isinstance(settings.seed, torch.Generator),
        "slots": settings.slots,
        "versions": {
            "difflens_widgets": __version__,
            **{package.__name__: str(package.__version__) for package in (torch, diffusers, transformers)},
        },
    }


def takes_run_options(function: Callable[P, T]) -> Callable[P, T]:
    """Write the arguments of a run out in a function's signature, and refuse unknown ones with a TypeError.

    The function itself takes ``**options: Unpack[RunOptions]``, which type checkers read; `help` and editors show each
    argument with its default.
    """
    shown = inspect.signature(function)
    others = [parameter for parameter in shown.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    own = {parameter.name for parameter in others}
    defaults: Mapping[str, Any] = DEFAULTS
    written_out = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation)
        for name, annotation in RunOptions.__annotations__.items()
    ]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in DEFAULTS and name not in own:
                hint = ": it is called num_inference_steps, as in diffusers" if name == "steps" else ""
                raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}{hint}")
        return function(*args, **kwargs)

    checked.__signature__ = shown.replace(parameters=[*others, *written_out])  # type: ignore[attr-defined]
    return checked
