"""Augmented pictures to learn reading from: drawn ones, some as a generated picture would look.

Generated pictures have wobbling outlines and come from latents that are a little wrong. What they show is known here.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm.auto import tqdm

from .cache import cached
from .cores import parts_of, run_parallel
from .dataset import ScenePool, floats

_WOBBLE = 0.05  # of half the side, at most: as standard deviation
_LATENT_NOISE = 0.2  # of the latents' own standard deviation, at most


def augmented_pictures(
    pool: ScenePool, count: int, every: int, autoencoder: AutoencoderKL, device: torch.device, folder: Path
) -> Tensor:
    """The pool's first `count` pictures, uint8 (n, size, size, 3); `autoencoder` has `painted` one of `every`.

    Painting takes minutes: what was painted is kept in `folder` for the next run with the same pictures and weights.
    """
    pictures = torch.from_numpy(np.array(pool.pictures[:count]))
    drawn = pictures[::every].contiguous()
    pictures[::every] = cached(
        folder, "painted", autoencoder, drawn.numpy().data, partial(painted, drawn, autoencoder, device)
    )
    return pictures


def painted(pictures: Tensor, autoencoder: AutoencoderKL, device: torch.device, seed: int = 0) -> Tensor:
    """Pictures, uint8 (n, size, size, 3), with wobbling outlines and painted from latents that are a little wrong."""

    @torch.inference_mode()
    def paint(number: int, part: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
        latents = autoencoder.encode(_wobbled(floats(part), generator).to(device)).latent_dist.mean
        wrong = _LATENT_NOISE * torch.rand(len(part), 1, 1, 1, generator=generator)
        latents = latents + (wrong * torch.randn(latents.shape, generator=generator)).to(device)
        restored = autoencoder.decode(latents).sample.clamp(-1, 1)
        return ((restored.cpu() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)

    calls = [partial(paint, number, part) for number, part in enumerate(pictures.split(64))]
    at_once, done = parts_of(device), []
    for start in tqdm(range(0, len(calls), at_once), desc="augment", mininterval=10, leave=False):
        done += run_parallel(calls[start : start + at_once])
    return torch.cat(done)


def _wobbled(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Every pixel moved a little, its neighbours nearly alike."""
    moves = _WOBBLE * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    coarse = moves * torch.randn(len(pixels), 2, 8, 8, generator=generator)
    moved = F.interpolate(coarse, size=pixels.shape[-2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    still = F.affine_grid(torch.eye(2, 3).expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, still + moved, mode="bilinear", padding_mode="border", align_corners=False)
