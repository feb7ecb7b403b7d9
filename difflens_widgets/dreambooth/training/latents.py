"""Latents of the pictures to learn from: encoded once, as the distribution they are drawn from, or again each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...models.pipeline_state import dtype_restored
from .images import to_pixels

_AT_ONCE = 8


class Latents:
    """The latents of some pictures of one size, drawn anew each time they are asked for.

    What is cached are mean and log-variance, so that what is drawn is distributed as without the cache.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    images : sequence of PIL.Image
    cached : bool
        Encode them now and once; otherwise each time.
    """

    def __init__(self, vae: Any, images: Sequence[Image.Image], *, cached: bool) -> None:
        self._vae = vae
        self._pixels: Tensor | None = to_pixels(images)
        self._mean: Tensor | None = None
        self._logvar: Tensor | None = None
        if cached:
            parts = [self._encode(rows) for rows in self._pixels.split(_AT_ONCE)]
            self._mean, self._logvar = (torch.cat(part) for part in zip(*parts, strict=True))
            self._pixels = None

    def draw(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Latents of these pictures, scaled as the denoiser wants them, on the autoencoder's device.

        Parameters
        ----------
        pictures : int Tensor (rows,)
        noise : Tensor (rows, C, h, w)
            Standard normal.
        """
        if self._mean is not None and self._logvar is not None:
            mean, logvar = self._mean[pictures], self._logvar[pictures]
        else:
            assert self._pixels is not None
            mean, logvar = self._encode(self._pixels[pictures])
        config = self._vae.config
        drawn = mean + torch.exp(0.5 * logvar) * noise.to(mean)
        shift = getattr(config, "shift_factor", None) or 0.0
        return (drawn - shift) * config.scaling_factor

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with dtype_restored(self._vae, torch.float32):  # half precision overflows in some autoencoders
            distribution = self._vae.encode(pixels.to(self._vae.device)).latent_dist
        return distribution.mean, distribution.logvar  # clamped, as diffusers draws from it
