"""Scenes drawn anew while the U-Net trains: a window of encoded scenes that moves on with the steps.

What the window holds depends on nothing but (seed, step), so a resumed run draws its window again and goes on with the
same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..scenes import Scene
from .cores import parts_of, run_parallel
from .layout import LayoutMaps, layout_maps

BLOCK, WINDOW, STEPS_PER_BLOCK = 256, 32, 40
"""Scenes in a block, blocks in the window, and after how many steps the oldest block makes room for a new one."""
Encode = Callable[[Sequence[int]], tuple[list[Scene], Tensor, Tensor]]
"""Indices of scenes → the scenes, their latents and the states of their captions."""


class SceneStream:
    """The encoded scenes of the window, in rings: block number n is in slot n modulo `window`.

    On two CPU cores a block takes 1.9 s to draw and to encode, and the steps until the next one take 33 s.

    Attributes
    ----------
    latents : Tensor
        Float16 (scene, 4, 16, 16).
    states : Tensor
        Of the captions, float16 (scene, token, width).
    maps : LayoutMaps
        What stands where.
    """

    latents: Tensor
    states: Tensor
    maps: LayoutMaps

    def __init__(
        self,
        encode: Encode,
        device: torch.device,
        block: int = BLOCK,
        window: int = WINDOW,
        steps_per_block: int = STEPS_PER_BLOCK,
    ) -> None:
        self.encode, self.device = encode, device
        self.block, self.window, self.steps_per_block = block, window, steps_per_block
        self._blocks: list[int | None] = [None] * window  # by slot

    def __len__(self) -> int:
        return self.block * self.window

    def advance(self, step: int) -> None:
        """Make the window that of `step`."""
        first = step // self.steps_per_block
        for number in range(first, first + self.window):
            if self._blocks[number % self.window] != number:
                self._fill(number)

    def _fill(self, number: int) -> None:
        parts, slot = parts_of(self.device), number % self.window
        indices = range(number * self.block, (number + 1) * self.block)
        encoded = run_parallel([partial(self.encode, indices[part::parts]) for part in range(parts)])
        for part, (scenes, latents, states) in enumerate(encoded):
            maps = layout_maps(scenes)
            if not hasattr(self, "latents"):
                self.latents, self.states = self._ring(latents), self._ring(states)
                self.maps = LayoutMaps(*map(self._ring, maps))
            rows = slice(slot * self.block + part, (slot + 1) * self.block, parts)
            for ring, values in zip((self.latents, self.states, *self.maps), (latents, states, *maps), strict=True):
                ring[rows] = values
        self._blocks[slot] = number

    def _ring(self, values: Tensor) -> Tensor:
        return values.new_zeros(len(self), *values.shape[1:])
