"""An independent way to attention maps: a processor that stores every probability, and float64 arithmetic on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from diffusers.models.attention_processor import AttnProcessor2_0


class StoringProcessor(AttnProcessor2_0):
    """diffusers' own, that beside its work stores what the textbook formula gives, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: list[np.ndarray] = []  # one (row, head, pixel, key) for each forward

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, *args: Any, **kwargs: Any):
        query, key = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states)
        split = [of.double().unflatten(-1, (attn.heads, -1)).transpose(1, 2).numpy() for of in (query, key)]
        scores = np.einsum("bhqd,bhkd->bhqk", *split) / np.sqrt(split[0].shape[-1])
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        self.stored.append(powers / powers.sum(-1, keepdims=True))
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


def store_all(unet: Any) -> dict[str, StoringProcessor]:
    """Put one on each cross-attention module; gives them by the module's name."""
    processors = {}
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            processors[name] = module.processor = StoringProcessor()
    return processors


def daam_modules(unet: Any) -> list[str]:
    """The names of the modules that DAAM's code looks at by default: up and down blocks with cross-attention.

    Its locator leaves the middle block out (`locate_middle_block=False`).
    """
    found = []
    for kind in ("up_blocks", "down_blocks"):
        for index, block in enumerate(getattr(unet, kind)):
            if "CrossAttn" in type(block).__name__:
                found += [f"{kind}.{index}.{name}" for name, _ in block.named_modules() if name.endswith("attn2")]
    return found


def bicubic(before: int, after: int) -> np.ndarray:
    """(after, before): Keys' kernel with a = -0.75 about pixel centres, the edge pixel repeated."""

    def kernel(distance: float) -> float:
        x, a = abs(distance), -0.75
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    weights = np.zeros((after, before))
    for new in range(after):
        centre = (new + 0.5) * before / after - 0.5
        for old in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[new, min(max(old, 0), before - 1)] += kernel(centre - old)
    return weights


def daam(stored: list[np.ndarray], row: int, grid: tuple[int, int], sizes: list[tuple[int, int]]) -> np.ndarray:
    """DAAM's map of every key, (key, height, width): `stored` and `sizes` have one entry per layer.

    An entry of `stored` is (step, row, head, pixel, key). Sum over steps, each head resized and clamped, mean over all.
    """
    heads = []
    for probabilities, (height, width) in zip(stored, sizes, strict=True):
        for head in probabilities[:, row].sum(0):  # (pixel, key)
            maps = head.T.reshape(-1, height, width)
            heads.append(np.maximum(0, bicubic(height, grid[0]) @ maps @ bicubic(width, grid[1]).T))
    return np.mean(heads, axis=0)
