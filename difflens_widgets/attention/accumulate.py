"""Adds attention probabilities up over layers, heads and steps, for one picture; on the denoiser's device."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..runs.maps.maps import AttentionMaps, Summed
from ..runs.maps.plan import Plan
from .denoiser import AttentionLayer, Window


class Sums:
    """The attention of one picture, while it is being drawn.

    "mean" keeps one sum for each block, the head-means of its layers; "daam" one for each head of each layer,
    because it clamps each head by itself after the steps are summed.
    """

    def __init__(self, plan: Plan, layers: tuple[AttentionLayer, ...]) -> None:
        self.plan = plan
        self._grid = plan.grid
        self._block_of = {layer.name: layer.block for layer in layers}
        self._step: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}
        self._forwards = 0
        self._forwards_before = 0
        self._by_step: dict[int, Summed] = {}

    def add(self, layer: AttentionLayer, window: Window, pieces: Iterable[Tensor]) -> None:
        """Add one layer's (head, pixel, key), float32, given in pieces of some pixels."""
        kept = torch.cat([self._kept(window, piece) for piece in pieces], dim=1)
        maps = kept.transpose(-1, -2).unflatten(-1, layer.size(*self._grid))
        _accumulate(self._step, layer.name if self.plan.aggregator == "daam" else layer.block, maps)

    def _kept(self, window: Window, piece: Tensor) -> Tensor:
        """(head, pixel, key) to (head, pixel, map), after the softmax: what is not kept by itself is not shared out."""
        maps = piece if self.plan.aggregator == "daam" else piece.mean(0, keepdim=True)
        tokens, places = maps[..., window.tokens], self.plan.places
        sums = [tokens[..., places:]] if self.plan.has_padding else []
        sums += [maps[..., keys] for keys in window.others]
        return torch.cat([tokens[..., :places], *(some.sum(-1, keepdim=True) for some in sums)], dim=-1)

    def end_forward(self) -> None:
        """A forward of the denoiser is over."""
        self._forwards += 1

    def end_step(self, step: int) -> None:
        """A denoising step of one or two forwards is over; 0 is the first."""
        if step in self.plan.steps:
            forwards = self._forwards - self._forwards_before
            self._by_step[step] = Summed(self._maps(self._step, "step_halved"), forwards)
        for name, maps in self._step.items():
            _accumulate(self._total, name, maps)
        self._step = {}
        self._forwards_before = self._forwards

    @property
    def has_steps(self) -> bool:
        """Whether a whole step is over."""
        return bool(self._total)

    def finish(self) -> AttentionMaps:
        """The record."""
        return AttentionMaps(self.plan, Summed(self._maps(self._total, "halved"), self._forwards_before), self._by_step)

    def _maps(self, sums: dict[str, Tensor], halved: str) -> dict[str, np.ndarray]:
        """Each block's maps (token, height, width), averaged over layers and heads, pooled as planned."""
        blocks: dict[str, Tensor] = {}
        for name, maps in sums.items():
            if self.plan.aggregator == "daam":
                maps = F.interpolate(maps, size=self._grid, mode="bicubic").clamp_(min=0)
            _accumulate(blocks, self._block_of.get(name, name), maps.sum(0))
        return {
            block.name: _pooled(blocks[block.name] / block.weight, getattr(block, halved)).cpu().numpy()
            for block in self.plan.blocks
        }


def _accumulate(sums: dict[str, Tensor], name: str, maps: Tensor) -> None:
    if name in sums:
        sums[name] += maps
    else:
        sums[name] = maps.clone()


def _pooled(maps: Tensor, halved: int) -> Tensor:
    return F.avg_pool2d(maps, 2**halved) if halved else maps
