"""The picture side of the contrastive training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = (32, 64, 128, 192)
_PLACES = 4  # a 4 × 4 grid is kept: where things stand matters


class PictureTrunk(nn.Module):
    """(batch, 3, size, size) in -1..1 → (batch, `width`)."""

    width = _CHANNELS[-1] * _PLACES**2

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = 3
        for after in _CHANNELS:
            blocks += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
            blocks += [nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.SiLU()]
            before = after
        self.blocks = nn.Sequential(*blocks)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.blocks(pixels), _PLACES).flatten(1)
