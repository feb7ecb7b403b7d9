"""Trains the judge on drawn scenes, held-out combinations included: it must be able to see them.

Every third picture is one that the autoencoder painted, see `augment.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ..judge import COLOR_NAMES, GRID, KIND_NAMES, MATERIAL_NAMES, Judge
from ..scenes import BACKGROUNDS, NAMED_MATERIALS, Scene, sample_scene
from .augment import augmented_pictures
from .cores import by_parts
from .dataset import floats, load_pool
from .loop import StageConfig, fit

_PAINTED_EVERY = 3
_POOL = "practice"  # the file's former name: a pool that was drawn before is found again


def judged_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the judge's own set, every sixth with a held-out combination."""
    rng = np.random.default_rng([seed, index, 1])
    return sample_scene(rng, held_out=index % 6 == 0)


def _augmented_scene(seed: int, index: int) -> Scene:
    """A `judged_scene`, but of every ten one has a thing inside another, the hardest to read, and one a material."""
    rng = np.random.default_rng([seed, index, 1])
    if index % 10 == 0:
        return sample_scene(rng, "relation", relation="inside")
    if index % 10 == 5:
        return sample_scene(rng, "object", material=NAMED_MATERIALS[index // 10 % len(NAMED_MATERIALS)])
    return judged_scene(seed, index)


def train_judge(
    config: StageConfig,
    folder: Path,
    device: torch.device,
    autoencoder: AutoencoderKL,
    start: Judge | None = None,
    count: int = 24_000,
) -> Judge:
    """Train on `count` drawn scenes, of which the autoencoder paints every third; `start`: fine-tune this judge."""
    torch.manual_seed(config.seed + 3)
    size = int(autoencoder.config.sample_size)
    pool = load_pool(folder, count, size, config.seed, _augmented_scene, _POOL)
    pictures = augmented_pictures(pool, count, _PAINTED_EVERY, autoencoder, device, folder)
    model = (start or Judge(size)).to(device)

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        chosen = torch.randint(count, (config.batch,), generator=generator)
        pixels = _roughened(floats(pictures[chosen]), generator).to(device)

        def loss_of(rows: slice) -> Tensor:
            return _loss(model(pixels[rows]), [pool.scenes[i] for i in chosen[rows]])

        return by_parts(loss_of, device)

    return fit(model, loss_of_step, config, folder, "judge")


def _loss(answers: dict[str, Tensor], scenes: Sequence[Scene]) -> Tensor:
    """Centres everywhere (focal loss, Lin et al. 2017); colors and sizes at the true centres only."""
    heat = _heat(scenes).to(answers["centre"].device)
    chance = answers["centre"].sigmoid()
    missed = torch.where(heat > 0.99, 1 - chance, chance * (1 - heat) ** 2)
    entropy = F.binary_cross_entropy_with_logits(answers["centre"], (heat > 0.99).float(), reduction="none")
    things = [(row, item) for row, scene in enumerate(scenes) for item in scene.items]
    at = (
        torch.tensor([row for row, _ in things]),
        torch.tensor([KIND_NAMES.index(item.kind) for _, item in things]),
        torch.tensor([_cell(item.y) for _, item in things]),
        torch.tensor([_cell(item.x) for _, item in things]),
    )
    colors = torch.tensor([COLOR_NAMES.index(item.color) for _, item in things]).to(heat.device)
    radii = torch.tensor([item.r for _, item in things]).to(heat.device)
    materials = torch.tensor([MATERIAL_NAMES.index(item.material) for _, item in things]).to(heat.device)
    backgrounds = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes]).to(heat.device)
    return (
        (missed**2 * entropy).sum() / len(things)
        + F.cross_entropy(answers["color"].movedim(2, -1)[at], colors)
        + F.cross_entropy(answers["material"].movedim(1, -1)[at[0], at[2], at[3]], materials)
        + F.l1_loss(answers["r"][at], radii)
        + F.cross_entropy(answers["background"], backgrounds)
    )


def _cell(fraction: float) -> int:
    return min(GRID - 1, max(0, int(fraction * GRID)))


def _heat(scenes: Sequence[Scene]) -> Tensor:
    """(scene, kind, row, column): 1 at a thing's centre, falling off within about a cell."""
    heat = torch.zeros(len(scenes), len(KIND_NAMES), GRID, GRID)
    ticks = torch.arange(GRID)
    for row, scene in enumerate(scenes):
        for item in scene.items:
            dy, dx = ticks - _cell(item.y), ticks - _cell(item.x)
            bump = torch.exp(-(dy[:, None] ** 2 + dx[None] ** 2) / 2)
            kind = KIND_NAMES.index(item.kind)
            heat[row, kind] = torch.maximum(heat[row, kind], bump)
    return heat


def _roughened(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur and noise, as a small autoencoder adds them: the judge must read generated pictures too."""
    if torch.rand((), generator=generator) < 0.5:
        small = F.interpolate(pixels, scale_factor=float(torch.empty(()).uniform_(0.7, 0.95, generator=generator)))
        pixels = F.interpolate(small, size=pixels.shape[-2:], mode="bilinear")
    return pixels + 0.08 * torch.rand((), generator=generator) * torch.randn(pixels.shape, generator=generator)
