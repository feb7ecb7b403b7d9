"""What stands where in a scene, on the grid of the latents: known from the drawing, and told to the U-Net in training.

A denoising loss alone taught a small U-Net slowly *which* thing belongs at a place: most of the latents' variance is
background, and outlines look right long before kinds do. So while it trains, a 1 × 1 head reads kind, color and
material at every place from the U-Net's own features (dropped afterwards), and places with things weigh more in the
loss.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..scenes import BACKGROUNDS, KINDS, MATERIALS, Scene

GRID = 16
_KIND_NAMES, _COLOR_NAMES, _MATERIAL_NAMES = list(KINDS), list(BACKGROUNDS), list(MATERIALS)
_NOTHING = len(_KIND_NAMES)
_LOGITS = (len(_KIND_NAMES) + 1, len(_COLOR_NAMES), len(_MATERIAL_NAMES))
_BODY = 0.85  # of a thing's radius: nearer to its centre it covers what is behind it
_REACH, _MARGIN = 1.15, 0.04  # of the radius, and of the side: all that a thing can touch
_WEIGHT_OF_THINGS = 3.0


class LayoutMaps(NamedTuple):
    """int64 (scene, 16, 16), "nothing" being the last kind, backgrounds being plain; `weight` is float16 of mean 1."""

    kind: Tensor
    color: Tensor
    material: Tensor
    weight: Tensor


def layout_maps(scenes: Sequence[Scene]) -> LayoutMaps:
    """The maps of every scene: the smallest thing in front, as in the drawing; elsewhere the background."""
    kind = np.full((len(scenes), GRID, GRID), _NOTHING, np.int64)
    color, material = np.empty_like(kind), np.full_like(kind, _MATERIAL_NAMES.index("plain"))
    weight = np.ones(kind.shape, np.float32)
    ticks = (np.arange(GRID) + 0.5) / GRID
    for row, scene in enumerate(scenes):
        color[row] = _COLOR_NAMES.index(scene.background)
        for item in sorted(scene.items, key=lambda item: -item.r):
            distance = np.hypot(ticks[:, None] - item.y, ticks[None] - item.x)
            body = distance <= _BODY * item.r
            kind[row][body], color[row][body] = _KIND_NAMES.index(item.kind), _COLOR_NAMES.index(item.color)
            material[row][body] = _MATERIAL_NAMES.index(item.material)
            weight[row][distance <= _REACH * item.r + _MARGIN] = _WEIGHT_OF_THINGS
        weight[row] /= weight[row].mean()
    names = torch.from_numpy(np.stack([kind, color, material]))
    return LayoutMaps(names[0], names[1], names[2], torch.from_numpy(weight).half())


class ReadingUNet(nn.Module):
    """A U-Net, and a head that says what is at each place, from the features of the U-Net's second `up` block."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self.head = nn.Conv2d(unet.config.block_out_channels[1], sum(_LOGITS), 1)
        self._features: dict[int, Tensor] = {}  # by thread: parts of a batch are worked on side by side
        self.hook = unet.up_blocks[1].register_forward_hook(self._keep)

    def without_head(self) -> UNet2DConditionModel:
        """The U-Net alone, as it was given."""
        self.hook.remove()
        return self.unet

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._features[threading.get_ident()] = output

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted velocity, and logits (batch, kinds + nothing + colors + materials, 16, 16)."""
        velocity = self.unet(noisy, timesteps, text).sample.float()
        return velocity, self.head(self._features.pop(threading.get_ident())).float()


def layout_loss(logits: Tensor, kind: Tensor, color: Tensor, material: Tensor) -> Tensor:
    """Cross-entropy of kinds, colors and materials; places with things count as much together as all others."""
    thing = kind != _NOTHING
    pairs = zip(logits.split(_LOGITS, 1), (kind, color, material), strict=True)
    entropy = torch.stack([F.cross_entropy(of, true, reduction="none") for of, true in pairs]).sum(0)
    return (entropy[thing].sum() / thing.sum().clamp(min=1) + entropy[~thing].sum() / (~thing).sum().clamp(min=1)) / 2
