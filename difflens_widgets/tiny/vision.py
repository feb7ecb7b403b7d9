"""The picture side of the contrastive training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_CHANNELS = (32, 64, 128, 192)
_SIZE = 64  # pictures are brought to this size first
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
        return F.adaptive_avg_pool2d(self.blocks(shrink(pixels, _SIZE)), _PLACES).flatten(1)


def shrink(pixels: Tensor, size: int) -> Tensor:
    """Bring (batch, 3, side, side) down to `size` by averaging squares; left as it is where it has that size."""
    return pixels if pixels.shape[-1] == size else F.interpolate(pixels, size=(size, size), mode="area")
