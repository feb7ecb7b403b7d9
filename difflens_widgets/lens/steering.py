"""Checks the direction and the strengths of steering; runs no model."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..runs.tokens import Token
from ..runs.variant import Variant
from .methods import Steering

Tokenize = Callable[[str], tuple[tuple[Token, ...], str]]


def steering(
    encoder: str,
    num_layers: int,
    width: int,
    tokens: Sequence[Token],
    direction: Any,
    strengths: Any,
    tokenize: Tokenize,
) -> Steering:
    """The method of a run that steers.

    Parameters
    ----------
    width : int
        That of the encoder's states.
    tokens : sequence of Token
        Those of the prompt.
    direction, strengths
        As for `DiffusionLens.steer`.
    tokenize : callable
        Text → its tokens, and the part that is cut off.

    Raises
    ------
    ValueError, TypeError
        If one is not valid; the message names it.
    """
    prompts, given = None, None
    if isinstance(direction, Tensor) or hasattr(direction, "__array__"):
        given = _checked(torch.as_tensor(direction), num_layers, len(tokens), width)
    else:
        prompts = _two_prompts(direction, tokenize)
    mask = torch.tensor([[float(token.kind != "bos")] for token in tokens])
    return Steering(encoder, num_layers, _variants(strengths), prompts, given, mask)


def _two_prompts(direction: Any, tokenize: Tokenize) -> tuple[str, str]:
    if not (
        isinstance(direction, (tuple, list))
        and len(direction) == 2
        and all(isinstance(text, str) for text in direction)
    ):
        raise TypeError(f"direction: expected two prompts (plus, minus), or a Tensor, got {direction!r}")
    for text in direction:
        tokens, cut = tokenize(text)
        if cut:
            raise ValueError(f"direction: the text encoder reads {len(tokens)} tokens of {text!r}; {cut!r} is cut off")
        if not any(token.kind in ("word", "eos") for token in tokens):  # of a language model, whose texts have no end
            raise ValueError(f"direction: {text!r} has no word for this text encoder; give a neutral one")
    if direction[0] == direction[1]:
        raise ValueError(f"direction: both prompts are {direction[0]!r}; their difference is zero")
    return direction[0], direction[1]


def _checked(direction: Tensor, num_layers: int, length: int, width: int) -> Tensor:
    """A given direction as (layer or 1, position or 1, width), float32 on the CPU."""
    shape = tuple(direction.shape)
    fits = (
        shape == (width,)
        or shape == (length, width)
        or (len(shape) == 3 and shape[0] == num_layers and shape[1] in (1, length) and shape[2] == width)
    )
    if not fits:
        raise ValueError(
            f"direction: the shape is {shape}, expected ({width},), ({length}, {width}), ({num_layers}, 1, {width}) or "
            f"({num_layers}, {length}, {width})"
        )
    if not torch.isfinite(direction).all():
        raise ValueError("direction: some values are NaN or infinite")
    direction = direction.detach().float().cpu()
    return direction if direction.ndim == 3 else direction.reshape(1, -1, width)


def _variants(strengths: Any) -> dict[Variant, float]:
    given = list(strengths) if isinstance(strengths, Iterable) and not isinstance(strengths, str) else [strengths]
    found: dict[Variant, float] = {}
    for value in given:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"strengths: expected numbers, got {value!r}")
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(f"strengths: {value} is not finite")
        variant = Variant(f"{number:+g}" if number else "0", len(found))
        if variant in found:
            raise ValueError(f"strengths: {value!r} is given twice")
        found[variant] = number
    if not found:
        raise ValueError("strengths: empty; give some numbers, such as [-2, 2]")
    return found
