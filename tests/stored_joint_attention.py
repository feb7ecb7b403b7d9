"""An independent way to joint attention: processors that store every probability, in float64 from the projections on.

The norms and the rotary embedding are written again here, from their papers' formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import JointAttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor


def split(projected: torch.Tensor, heads: int, norm: Any) -> np.ndarray:
    """(row, head, place, width) in float64; `norm` is RMSNorm over the width, or None."""
    parts = projected.double().numpy()
    parts = parts.reshape(*parts.shape[:2], heads, -1).transpose(0, 2, 1, 3)
    if norm is not None:
        size = np.sqrt((parts**2).mean(-1, keepdims=True) + norm.eps)
        parts = parts / size * norm.weight.double().numpy()
    return parts


def probabilities(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """softmax(QKᵀ / √width) over all keys."""
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) / np.sqrt(query.shape[-1])
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def projected(attn: Any, which: str, image: torch.Tensor, text: torch.Tensor | None) -> list[np.ndarray]:
    """The image's and the text's queries ("q") or keys ("k"); without `text`, `image` has both."""
    found = [split(getattr(attn, f"to_{which}")(image), attn.heads, getattr(attn, f"norm_{which}"))]
    if text is not None:
        norm = getattr(attn, f"norm_added_{which}")
        found.append(split(getattr(attn, f"add_{which}_proj")(text), attn.heads, norm))
    return found


class StoringSD3(JointAttnProcessor2_0):
    """Stores for each forward (row, head, pixel, key): of the keys the text's come first."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[np.ndarray] = []

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, *args: Any, **kwargs: Any):
        if encoder_hidden_states is not None:  # else the image's own second attention
            image_query, _ = projected(attn, "q", hidden_states, encoder_hidden_states)
            image_key, text_key = projected(attn, "k", hidden_states, encoder_hidden_states)
            self.stored.append(probabilities(image_query, np.concatenate([text_key, image_key], axis=2)))
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


class StoringFlux(FluxAttnProcessor):
    """As `StoringSD3`; `text` is how many keys are the text's, `width` how many pixels a row of the picture has."""

    def __init__(self, text: int, width: int, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.stored: list[np.ndarray] = []
        self.text, self.width, self.axes = text, width, axes

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, *args: Any, **kwargs: Any):
        # the text comes first, also where both are in `hidden_states` already
        query, key = (
            self.turned(np.concatenate(projected(attn, which, hidden_states, encoder_hidden_states)[::-1], axis=2))
            for which in "qk"
        )
        self.stored.append(probabilities(query[:, :, self.text :], key))
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)

    def turned(self, parts: np.ndarray) -> np.ndarray:
        """Each pair of numbers turned by its place's angles: the text stands at 0, 0, 0, a pixel at 0, row, column."""
        pixel = np.arange(parts.shape[2] - self.text)
        place = np.zeros((3, parts.shape[2]))
        place[1, self.text :], place[2, self.text :] = pixel // self.width, pixel % self.width
        angles = [
            place[axis][:, None] * 10000.0 ** (-np.arange(0, size, 2) / size) for axis, size in enumerate(self.axes)
        ]
        turned = (parts[..., 0::2] + 1j * parts[..., 1::2]) * np.exp(1j * np.concatenate(angles, axis=-1))
        return np.stack([turned.real, turned.imag], axis=-1).reshape(parts.shape)


def store_all(transformer: Any, text: int = 0, width: int = 0) -> dict[str, Any]:
    """Put one on each joint attention module; gives them by the block's name."""
    processors = {}
    for name, module in transformer.named_modules():
        if name.endswith(".attn"):
            flux = type(transformer).__name__.startswith("Flux")
            made = StoringFlux(text, width, tuple(transformer.config.axes_dims_rope)) if flux else StoringSD3()
            processors[name.removesuffix(".attn")] = module.processor = made
    return processors
