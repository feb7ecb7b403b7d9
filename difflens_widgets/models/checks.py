"""Checks of arguments before anything is computed; each error states the value and what was expected."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from . import Family, family_of


def as_int(name: str, value: Any, at_least: int | None = None) -> int:
    """`value` as an int; integer types such as numpy's are accepted, 2.5 and "2" are not."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):  # True is 1 in Python, and nobody means that
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if at_least is not None and number < at_least:
        raise ValueError(f"{name}: {number} must be at least {at_least}")
    return number


def _ints(name: str, values: Any) -> tuple[int, ...]:
    given = None
    if not isinstance(values, (str, bytes)):
        with suppress(TypeError):
            given = tuple(values)
    if given is None:
        raise TypeError(f"{name}: expected several whole numbers, got {values!r}")
    return tuple(as_int(name, value) for value in given)


def mapping_or_none(name: str, value: Any) -> Mapping[str, Any] | None:
    """Check for a mapping or None."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping such as a dict, or None, got {value!r}")
    if value is not None and value.get("scale") is not None:
        non_negative(f"{name}['scale']", value["scale"])
    return value


def callable_or_none(name: str, value: Any) -> Any:
    """Check for a callable or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}: expected a function, or None, got {value!r}")
    return value


def boolean(name: str, value: Any) -> bool:
    """`value`, which is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def prompts(prompt: str | Sequence[str], negative_prompt: str | None) -> list[str]:
    """One or several prompts as a list of str; the negative prompt may be None."""
    try:
        texts = [prompt] if isinstance(prompt, (str, bytes, Mapping)) else list(prompt)
    except TypeError:
        raise TypeError(f"prompt: expected str or a list of str, got {type(prompt).__name__}: {prompt!r}") from None
    if not texts:
        raise ValueError("prompt: the list is empty; give at least one prompt")
    named = [("prompt", text) for text in texts]
    if negative_prompt is not None:
        named.append(("negative_prompt", negative_prompt))
    for name, text in named:
        if not isinstance(text, str):
            raise TypeError(f"{name}: expected str, got {type(text).__name__}: {text!r}")
    return texts


def encoding(prompt: str, lora_scale: float | None) -> None:
    """The arguments of an encoding: one prompt, and a strength of LoRA weights ≥ 0 or None."""
    prompts([prompt], None)
    if lora_scale is not None:
        non_negative("lora_scale", lora_scale)


def layers(chosen: Iterable[int] | None, num_layers: int) -> tuple[int, ...]:
    """The requested layers, each once and within range; None means all."""
    if chosen is None:
        return tuple(range(num_layers))
    if isinstance(chosen, int):
        raise TypeError(
            f"layers: expected several, such as [{chosen}] or range(0, {num_layers}), got the number {chosen}"
        )
    found = _ints("layers", chosen)
    if not found:
        raise ValueError(f"layers: empty; give some of 0..{num_layers - 1}, or None for all")
    for layer in found:
        if not 0 <= layer < num_layers:
            raise ValueError(f"layers: {layer} is outside 0..{num_layers - 1} for this text encoder")
        if found.count(layer) > 1:
            raise ValueError(f"layers: {layer} is given {found.count(layer)} times")
    return found


def seed(value: int | torch.Generator) -> int | torch.Generator:
    """A seed that torch accepts, or a copy of a generator."""
    if isinstance(value, torch.Generator):
        own = torch.Generator(value.device)
        own.set_state(value.get_state())
        return own
    number = as_int("seed", value, at_least=0)
    if number >= 2**63:
        raise ValueError(f"seed: {number} is outside 0..2**63-1")
    return number


def non_negative(name: str, value: float) -> float:
    """A finite number ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: {value} must be a finite number ≥ 0")
    return float(value)


def _as_tensor(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        tensor = None
    if tensor is None or not tensor.is_floating_point():
        raise TypeError(f"{name}: expected a tensor of floating-point numbers, or None, got {_brief(value)}")
    return tensor


def _brief(value: Any) -> str:
    return f"one of {value.dtype}" if isinstance(value, Tensor) else f"{type(value).__name__}: {value!r}"[:80]


def text_only(pipe: Any) -> None:
    """Refuse a pipeline whose denoiser needs a picture with every prompt."""
    kind = getattr(family_of(pipe).denoiser_of(pipe).config, "encoder_hid_dim_type", None)
    if kind in ("ip_image_proj", "text_image_proj", "image_proj"):
        raise ValueError(
            "pipe: an IP-Adapter is loaded, which needs a picture beside every prompt, and the lens gives only text; "
            "take it out with pipe.unload_ip_adapter()"
            if kind == "ip_image_proj"
            else f"pipe: its denoiser ({kind}) needs a picture beside every prompt, and the lens gives only text"
        )


def negative_embeds(pipe: Any, given: Tensor | None, negative_prompt: str | None) -> Tensor | None:
    """Finite embeddings that replace a negative prompt, as (1, tokens, width); refused where they are not all."""
    if given is None:
        return None
    family = family_of(pipe)
    if not family.negative_embeds:
        also = "also needs a pooled vector" if family.has_pooled else "needs more than these"
        raise ValueError(f"negative_prompt_embeds: {type(pipe).__name__} {also}; give negative_prompt instead")
    if negative_prompt:
        raise ValueError("negative_prompt_embeds: contradicts negative_prompt; give one of the two")
    given = _as_tensor("negative_prompt_embeds", given)
    expected = (pipe.tokenizer.model_max_length, family.denoiser_of(pipe).config.cross_attention_dim)
    if tuple(given.shape) not in (expected, (1, *expected)):
        raise ValueError(f"negative_prompt_embeds: the shape is {tuple(given.shape)}, expected {expected}")
    if not torch.isfinite(given).all():
        raise ValueError("negative_prompt_embeds: some values are NaN or infinite")
    return given.detach().clone().reshape(1, *expected)


def snapshots(chosen: Iterable[int] | None, steps: int) -> frozenset[int]:
    """The denoising steps to keep, each within 0..steps-1."""
    if isinstance(chosen, int):
        raise TypeError(f"snapshots: expected several, such as [{chosen}], got the number {chosen}")
    found = frozenset(_ints("snapshots", () if chosen is None else chosen))
    for step in sorted(found):
        if not 0 <= step < steps:
            raise ValueError(f"snapshots: step {step} is outside 0..{steps - 1}")
    return found


def slots(value: Any, count: int) -> Any:
    """Check for "cut", "all", or the number of one of the `count` states that a pipeline reads at once."""
    if value == "cut":
        return value
    if count == 1:
        raise ValueError(f"slots: this pipeline reads one state of its text encoder; leave {value!r} out")
    if value == "all":
        return value
    number = as_int("slots", value)
    if not 0 <= number < count:
        raise ValueError(f'slots: {number} is outside 0..{count - 1}; "cut" and "all" are possible too')
    return number


def size(pipe: Any, height: int | None, width: int | None) -> tuple[int, int]:
    """Height and width in pixels, divisible as the family requires; None means the size that `pipe` was trained for."""
    family = family_of(pipe)
    trained = _trained_size(pipe, family)
    sides = []
    for name, side, default in (("height", height, trained[0]), ("width", width, trained[1])):
        multiple = family.multiple
        pixels = default if side is None else as_int(name, side, at_least=multiple)
        below = pixels - pixels % multiple
        if pixels != below:
            raise ValueError(
                f"{name}: {pixels} is not divisible by {multiple}; the nearest are {below}, {below + multiple}"
            )
        sides.append(pixels)
    return sides[0], sides[1]


def _trained_size(pipe: Any, family: Family) -> tuple[int, int]:
    """(height, width) in pixels: the defaults of the pipeline's call, or as its calls derive them."""
    call = family.call_defaults(pipe)
    stated = call.get("height"), call.get("width")
    if isinstance(stated[0], int) and isinstance(stated[1], int):
        return stated[0], stated[1]
    sample = getattr(pipe, "default_sample_size", None) or family.denoiser_of(pipe).config.get("sample_size")
    if sample is None:  # Z-Image: any size, trained for this one
        return 1024, 1024
    sides = sample if isinstance(sample, (list, tuple)) else (sample, sample)
    return sides[0] * autoencoder_factor(pipe), sides[1] * autoencoder_factor(pipe)


def autoencoder_factor(pipe: Any) -> int:
    """How many pixels wide a latent is; 1 for pipelines that denoise pixels."""
    return int(getattr(pipe, "vae_scale_factor", 1))


def latents_size(pipe: Any, height: int, width: int) -> tuple[int, int, int]:
    """The (channel, height, width) of the latents of an image, as a run keeps them."""
    family, factor = family_of(pipe), autoencoder_factor(pipe)
    return family.latents.image(family.denoiser_of(pipe).config.in_channels, height // factor, width // factor)


def latents(pipe: Any, given: Tensor | None, height: int, width: int) -> Tensor | None:
    """Finite latents of the expected shape, as (1, channels, height / f, width / f); f is the autoencoder's factor."""
    if given is None:
        return None
    if "latents" not in family_of(pipe).call_defaults(pipe):
        raise ValueError(f"latents: {type(pipe).__name__} takes none; give a seed or a generator")
    expected = latents_size(pipe, height, width)
    tensor = _as_tensor("latents", given)
    if tuple(tensor.shape) not in (expected, (1, *expected)):
        raise ValueError(f"latents: the shape is {tuple(tensor.shape)}, for {height} × {width} it must be {expected}")
    if not torch.isfinite(tensor).all():
        raise ValueError("latents: some values are NaN or infinite")
    return tensor.detach().clone().reshape(1, *expected)


def guidance(pipe: Any, negative_prompt: str | None, true_cfg_scale: float | None, guidance_scale: float) -> None:
    """Refuse a negative prompt, or a `true_cfg_scale`, that the pipeline would ignore."""
    family, name = family_of(pipe), type(pipe).__name__
    accepted = family.call_defaults(pipe)
    separate = "true_cfg_scale" in accepted and family.guidance != "true_cfg_scale"  # FLUX.1: the other is distilled
    if true_cfg_scale is not None:
        non_negative("true_cfg_scale", true_cfg_scale)
        if not separate:
            raise ValueError(f"true_cfg_scale: {name} has one guidance only; give guidance_scale")
        if true_cfg_scale > 1 and negative_prompt is None:
            raise ValueError('true_cfg_scale: works only with a negative_prompt, such as ""')
    if negative_prompt is None:
        return
    if "negative_prompt" not in accepted:
        raise ValueError(f"negative_prompt: {name} takes none: it is distilled, or guides away from the empty prompt")
    if negative_prompt and guidance_scale == 0 and not separate:
        raise ValueError(
            "negative_prompt: has no effect at guidance_scale 0, which distilled models need; leave it out"
        )
    if separate and (true_cfg_scale or 0) <= 1:
        raise ValueError(
            f"negative_prompt: {name} is distilled and guided without one; to use it, at twice the time, also give "
            f"true_cfg_scale, more than 1; it is {true_cfg_scale}"
        )


ATTENTION_KWARGS = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")
"""The names of one argument in different pipelines."""


def require_arguments(pipe: Any, given: Mapping[str, Any]) -> None:
    """Refuse arguments that change something (not None or 0), and that the stock pipeline's call does not have."""
    accepted = family_of(pipe).call_defaults(pipe)
    for name, value in given.items():
        known = any(each in accepted for each in ATTENTION_KWARGS) if name in ATTENTION_KWARGS else name in accepted
        unset = value is None or (isinstance(value, (bool, int, float, Mapping)) and not value)  # a tensor has no truth
        if not unset and not known:
            raise ValueError(f"{name}: {type(pipe).__name__} has no such argument; leave it out")
