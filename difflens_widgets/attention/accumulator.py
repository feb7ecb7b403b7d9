"""Sums the attention probabilities of one image over layers, heads and steps, on the denoiser's device."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..runs.maps.maps import AttentionMaps, BlockMaps
from ..runs.maps.plan import Plan
from .denoiser import AttentionLayer, Window


class AttentionAccumulator:
    """The attention of one image, while the pipeline denoises it.

    With the aggregator "mean" it holds one sum for each block: its layers' maps, each the mean over the heads. With
    "daam" it holds one sum for each head of each layer, because DAAM clamps each head's map after the sum over steps.

    Parameters
    ----------
    plan : Plan
        What to keep.
    layers : tuple of AttentionLayer
        The attention layers of the plan's blocks.
    """

    def __init__(self, plan: Plan, layers: tuple[AttentionLayer, ...]) -> None:
        self.plan = plan
        self._block_of = {layer.name: layer.block for layer in layers}
        self._step: dict[str, Tensor] = {}
        self._total: dict[str, Tensor] = {}
        self._forwards = 0
        self._forwards_before = 0  # up to the end of the last whole step
        self._by_step: dict[int, BlockMaps] = {}

    def add(self, layer: AttentionLayer, window: Window, chunks: Iterable[Tensor]) -> None:
        """Add one layer's probabilities: float32 tensors (head, some pixels, key), which together have all pixels."""
        kept = torch.cat([self._kept(window, chunk) for chunk in chunks], dim=1)
        maps = kept.transpose(-1, -2).unflatten(-1, layer.size(*self.plan.grid))
        _add_to(self._step, layer.name if self.plan.aggregator == "daam" else layer.block, maps)

    def _kept(self, window: Window, chunk: Tensor) -> Tensor:
        """(head, pixel, key) → (head, pixel, map): one for each own token, then sums of padding, template and rest.

        This comes after the softmax: the share of what has no map of its own is not given to the other tokens. A token
        without a key has the share 0.
        """
        maps = chunk if self.plan.aggregator == "daam" else chunk.mean(0, keepdim=True)
        tokens, plan = maps[..., window.tokens], self.plan
        key_of = {position: key for key, position in enumerate(window.positions or range(tokens.shape[-1]))}
        own = [[key_of[position]] if position in key_of else [] for position in plan.own]
        if all(own):
            kept = [tokens[..., _together([key for keys in own for key in keys])]]
        else:
            kept = [tokens[..., keys].sum(-1, keepdim=True) for keys in own]
        for positions in (plan.padding, plan.template):
            if positions:
                keys = _together([key_of[position] for position in positions if position in key_of])
                kept.append(tokens[..., keys].sum(-1, keepdim=True))
        return torch.cat([*kept, *(maps[..., keys].sum(-1, keepdim=True) for keys in window.rest)], dim=-1)

    def end_forward(self) -> None:
        """Count a forward of the denoiser that has ended."""
        self._forwards += 1

    def end_step(self, step: int) -> None:
        """End a denoising step of one forward or two (second-order schedulers); step 0 is the first."""
        if step in self.plan.steps:
            forwards = self._forwards - self._forwards_before
            self._by_step[step] = BlockMaps(self._block_maps(self._step, "step_pool_factor"), forwards)
        for name, maps in self._step.items():
            _add_to(self._total, name, maps)
        self._step = {}
        self._forwards_before = self._forwards

    @property
    def has_steps(self) -> bool:
        """Whether at least one step has ended."""
        return bool(self._total)

    def finish(self) -> AttentionMaps:
        """Compute the record of all steps that have ended, in main memory."""
        total = BlockMaps(self._block_maps(self._total, "pool_factor"), self._forwards_before)
        return AttentionMaps(self.plan, total, self._by_step)

    def _block_maps(self, sums: dict[str, Tensor], pool_factor: str) -> dict[str, np.ndarray]:
        """Each block's maps (map, height, width): the mean over its layers and heads, pooled as the plan says."""
        blocks: dict[str, Tensor] = {}
        for name, maps in sums.items():
            if self.plan.aggregator == "daam":
                maps = F.interpolate(maps, size=self.plan.grid, mode="bicubic").clamp_(min=0)
            _add_to(blocks, self._block_of.get(name, name), maps.sum(0))
        return {
            block.name: _pooled(blocks[block.name] / block.weight, getattr(block, pool_factor)).cpu().numpy()
            for block in self.plan.blocks
        }


def _add_to(sums: dict[str, Tensor], name: str, maps: Tensor) -> None:
    if name in sums:
        sums[name] += maps
    else:
        sums[name] = maps.clone()


def _together(keys: list[int]) -> slice | list[int]:
    """The keys as a slice, which copies nothing, if they follow each other."""
    if keys == list(range(keys[0], keys[0] + len(keys)) if keys else []):
        return slice(keys[0], keys[0] + len(keys)) if keys else slice(0)
    return keys


def _pooled(maps: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(maps, factor) if factor > 1 else maps
