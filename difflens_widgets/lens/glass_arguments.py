"""Checks the arguments of StableDiffusionGlassPipeline and converts them to those of DiffusionLens."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from ..models import checks
from .batch import StepListener


class Noise(NamedTuple):
    """The start latents of one image, and the generator of the noise of its steps."""

    latents: Tensor
    generator: torch.Generator


def texts(
    prompt: str | Sequence[str] | None,
    negative_prompt: str | Sequence[str] | None,
    prompt_embeds: Tensor | None,
    negative_prompt_embeds: Tensor | None,
) -> tuple[list[str], list[str]]:
    """The prompts, and one negative prompt for each."""
    if prompt_embeds is not None:
        raise ValueError("prompt_embeds: the layers of a text encoder can be read from a prompt only: give `prompt`")
    if prompt is None:
        raise ValueError("prompt: give a prompt, or a list of them")
    if negative_prompt is not None and negative_prompt_embeds is not None:
        raise ValueError("negative_prompt_embeds: contradicts negative_prompt; give one of the two")
    prompts = checks.prompts(prompt, "")
    if negative_prompt is None or isinstance(negative_prompt, str):
        return prompts, [negative_prompt or ""] * len(prompts)
    negatives = list(negative_prompt)
    if len(negatives) != len(prompts):
        raise ValueError(f"negative_prompt: {len(negatives)} for {len(prompts)} prompts; give one, or one for each")
    return prompts, negatives


def negative_embeds(given: Tensor | None, count: int) -> list[Tensor | None]:
    """Negative embeddings for each of `count` prompts."""
    if given is None:
        return [None] * count
    if given.ndim != 3 or len(given) not in (1, count):
        raise ValueError(
            f"negative_prompt_embeds: the shape is {tuple(given.shape)}, expected (1 or {count}, tokens, width)"
        )
    return list(given.expand(count, -1, -1))


def layers(num_layers: int, start: int, end: int | None, step: int, skip: Iterable[int] | None) -> list[int]:
    """The layers of a range, without those to skip."""
    start = checks.as_int("start_layer", start, at_least=0)
    end = num_layers if end is None else checks.as_int("end_layer", end)
    step = checks.as_int("step_layer", step, at_least=1)
    if start >= num_layers:
        raise ValueError(f"start_layer: {start} is outside 0..{num_layers - 1} for this text encoder")
    if not start < end <= num_layers:
        raise ValueError(
            f"end_layer: {end} must be {start + 1}..{num_layers}; it is exclusive, None takes in all layers"
        )
    left_out = [checks.as_int("skip_layers", layer) for layer in skip or ()]
    for layer in left_out:
        if not 0 <= layer < num_layers:
            raise ValueError(f"skip_layers: {layer} is outside 0..{num_layers - 1} for this text encoder")
    chosen = [layer for layer in range(start, end, step) if layer not in left_out]
    if not chosen:
        raise ValueError(f"skip_layers: {left_out} leaves no layer of {list(range(start, end, step))}")
    return chosen


def on_step(callback: Callable[..., Any] | None, every: int) -> StepListener | None:
    """Convert `callback` to the form with four arguments, called at every n-th step.

    A callback that accepts three arguments has the old form, (step, timestep, latents), and is called in that form.
    """
    every = checks.as_int("callback_steps", every, at_least=1)
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback: expected a function, got {callback!r}")
    signature = inspect.signature(callback)
    old = _takes(signature, 3) and not any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    if not old and not _takes(signature, 4):
        raise TypeError(
            f"callback: it takes {signature}, expected (layer, step, timestep, latents) or (step, timestep, latents)"
        )

    def listen(layer: int, step: int, timestep: Tensor, latents: Tensor) -> None:
        if step % every == 0:
            callback(*(() if old else (layer,)), step, timestep, latents)

    return listen


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def with_encoder(pipe: Any, encoder: Any) -> Any:
    """A copy of `pipe` with another text encoder; all other components are shared."""
    own = pipe.text_encoder
    if type(encoder) is not type(own):
        raise TypeError(f"explain_other_model: expected a {type(own).__name__}, got {type(encoder).__name__}")
    for name in ("num_hidden_layers", "hidden_size", "vocab_size"):
        theirs, ours = getattr(encoder.config, name), getattr(own.config, name)
        if theirs != ours:
            raise ValueError(f"explain_other_model: its {name} is {theirs}, that of the pipeline's encoder is {ours}")
    if (encoder.device, encoder.dtype) != (own.device, own.dtype):
        raise ValueError(
            f"explain_other_model: it is {encoder.dtype} on {encoder.device}, the pipeline's encoder is {own.dtype} on "
            f"{own.device}; move it there with .to()"
        )
    other = copy.copy(pipe)
    other.__dict__["text_encoder"] = encoder  # not by register_modules: it would change the shared config
    return other


def noises(
    pipe: Any,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    latents: Tensor | None,
    count: int,
    height: int,
    width: int,
) -> list[Noise]:
    """The noise of `count` images, drawn from the caller's generators as the stock pipeline draws it.

    One generator for several images: the start latents are the stock pipeline's. For schedulers that add noise at
    each step, it seeds one generator per image.
    """
    one = generator if isinstance(generator, torch.Generator) else None
    several = None if generator is None or isinstance(generator, torch.Generator) else list(generator)
    if several is not None:
        for given in several:
            if not isinstance(given, torch.Generator):
                raise TypeError(f"generator: expected torch.Generator, got {type(given).__name__}")
        if len(several) != count:
            raise ValueError(f"generator: {len(several)} are given for {count} pictures; give one, or one for each")
    channels, factor = pipe.unet.config.in_channels, pipe.vae_scale_factor
    shape = (count, channels, height // factor, width // factor)
    if latents is not None and tuple(latents.shape) != shape:
        raise ValueError(
            f"latents: the shape is {tuple(latents.shape)}, "
            f"for {count} pictures of {height} × {width} it must be {shape}"
        )
    if latents is None:
        latents = randn_tensor(
            shape, generator=several or one, device=pipe._execution_device, dtype=pipe.text_encoder.dtype
        )
    if several is None:
        several = [one] if one is not None and count == 1 else _split(one, count)
    return [Noise(start, draws) for start, draws in zip(latents, several, strict=True)]


def _split(generator: torch.Generator | None, count: int) -> list[torch.Generator]:
    device = generator.device if generator is not None else "cpu"
    seeds = torch.randint(2**62, (count,), generator=generator, device=device).tolist()
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]
