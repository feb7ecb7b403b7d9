"""How pipelines arrange their latents, and the ends of their calls that decode them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .pipeline_state import dtype_restored

Size = tuple[int, int, int]


@dataclass(frozen=True)
class LatentLayout:
    """The arrangement of a pipeline's latents; a run shows and keeps them as images (row, channel, height, width).

    Attributes
    ----------
    image : callable
        (channels of the denoiser's input, height, width) → the (channel, height, width) of the image that a run keeps;
        height and width are those of the autoencoder's latents.
    unpack : callable
        (the pipeline's latents, channel, height, width) → the image.
    pack : callable
        The image → what the pipeline's argument `latents` takes.
    """

    image: Callable[[int, int, int], Size]
    unpack: Callable[[Tensor, Size], Tensor]
    pack: Callable[[Tensor], Tensor]


def _unpack_pixels(latents: Tensor, size: Size) -> Tensor:
    """(row, patch, channel · 2 · 2) → (row, channel, height, width), the inverse of `_pack_pixels`."""
    channels, height, width = size
    grid = latents.reshape(len(latents), height // 2, width // 2, channels, 2, 2)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(latents), *size)


def _pack_pixels(image: Tensor) -> Tensor:
    """Each square of 2 × 2 latents becomes one item of a sequence, as in `FluxPipeline._pack_latents`."""
    rows, channels, height, width = image.shape
    grid = image.reshape(rows, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(rows, height * width // 4, channels * 4)


PLAIN = LatentLayout(
    image=lambda channels, height, width: (channels, height, width),
    unpack=lambda latents, size: latents,
    pack=lambda image: image,
)
"""(row, channel, height, width): most pipelines."""

PACKED = LatentLayout(
    image=lambda channels, height, width: (channels // 4, height, width), unpack=_unpack_pixels, pack=_pack_pixels
)
"""A sequence of squares of 2 × 2 latents (row, square, 4 · channel): FLUX.1, Chroma, Qwen-Image."""

PATCHES = LatentLayout(
    image=lambda channels, height, width: (channels, height // 2, width // 2),
    unpack=lambda latents, size: latents.transpose(1, 2).reshape(len(latents), *size),
    pack=lambda image: image,
)
"""A sequence of patches (row, patch, channel), but `latents` is given as an image of patches: FLUX.2."""


def decode_scaled(pipe: Any, latents: Tensor) -> Tensor:
    """Latents divided by the autoencoder's `scaling_factor`, plus its `shift_factor` if it has one, then decoded."""
    vae, config = pipe.vae, pipe.vae.config
    latents = latents.to(vae.dtype) / config.scaling_factor
    shift = config.get("shift_factor")
    return vae.decode(latents if shift is None else latents + shift, return_dict=False)[0]


def decode_upcast(pipe: Any, latents: Tensor) -> Tensor:
    """As `decode_scaled`, in float32 where a float16 autoencoder would overflow (`force_upcast`)."""
    vae = pipe.vae
    upcast = vae.dtype == torch.float16 and vae.config.get("force_upcast")
    with dtype_restored(vae, torch.float32 if upcast else None):
        return decode_scaled(pipe, latents)
