"""Latents of the training images: encoded once, as the distribution they are drawn from, or again at every use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ...models.pipeline_state import dtype_restored
from .images import to_pixels

_BATCH_SIZE = 8


class Latents:
    """The latents of some images of one size, drawn anew at every use.

    The cache holds mean and log-variance, so the latents have the same distribution as without it.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    images : sequence of PIL.Image
    cached : bool
        Encode them once, now; otherwise at every use.
    """

    def __init__(self, vae: Any, images: Sequence[Image.Image], *, cached: bool) -> None:
        self._vae = vae
        self._pixels: Tensor | None = to_pixels(images)
        self._mean: Tensor | None = None
        self._logvar: Tensor | None = None
        if cached:
            parts = [self._encode(rows) for rows in self._pixels.split(_BATCH_SIZE)]
            self._mean, self._logvar = (torch.cat(part) for part in zip(*parts, strict=True))
            self._pixels = None

    def draw(self, indices: Tensor, noise: Tensor) -> Tensor:
        """Latents of some of the images, scaled for the denoiser, on the device of the autoencoder.

        Parameters
        ----------
        indices : int Tensor (rows,)
        noise : Tensor (rows, C, h, w)
            Standard normal.

        Returns
        -------
        float32 Tensor (rows, C, h, w)
        """
        if self._mean is not None and self._logvar is not None:
            mean, logvar = self._mean[indices], self._logvar[indices]
        else:
            assert self._pixels is not None
            mean, logvar = self._encode(self._pixels[indices])
        config = self._vae.config
        drawn = mean + torch.exp(0.5 * logvar) * noise.to(mean)
        shift = getattr(config, "shift_factor", None) or 0.0
        return (drawn - shift) * config.scaling_factor

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with dtype_restored(self._vae, torch.float32):  # some autoencoders overflow in half precision
            distribution = self._vae.encode(pixels.to(self._vae.device)).latent_dist
        return distribution.mean, distribution.logvar  # clamped, as in diffusers
