"""Stage 2: the autoencoder, 128 × 128 pictures to 4 × 16 × 16 latents.

It learns on small crops: all its layers are convolutions, so many cheap steps on crops teach what few dear steps on
whole pictures would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ..vision import shrink
from .cores import by_parts
from .dataset import ScenePool
from .loop import StageConfig, fit

_CROP, _FACTOR, _CHANNELS = 64, 8, 4
_KNOWN_WEIGHT = 0.02
_DECODER_NOISE = 0.1  # of the latents' own standard deviation, at most
_KL_WEIGHT = 1e-7  # larger ones leave half of the channels unused (1e-5 did)


def build_autoencoder(picture_size: int) -> AutoencoderKL:
    """An untrained AutoencoderKL that makes the sides eight times smaller."""
    return AutoencoderKL(
        sample_size=picture_size,
        block_out_channels=(16, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def _edges(pixels: Tensor) -> Tensor:
    return torch.cat([pixels.diff(dim=-1).flatten(1), pixels.diff(dim=-2).flatten(1)], 1)


def _unlike(restored: Tensor, pixels: Tensor) -> Tensor:
    """How far a restored picture is from the true one: L1 + L2, and L1 of the edges."""
    edges = F.l1_loss(_edges(restored), _edges(pixels))
    return F.l1_loss(restored, pixels) + F.mse_loss(restored, pixels) + edges


def _crops(pool: ScenePool, number: int, generator: torch.Generator) -> Tensor:
    """Parts of random pictures, all from one place, which the latents' grid divides."""
    pixels = pool.batch(torch.randint(len(pool.scenes), (number,), generator=generator))
    x, y = (_FACTOR * torch.randint(0, (pixels.shape[-1] - _CROP) // _FACTOR + 1, (2,), generator=generator)).tolist()
    return pixels[:, :, y : y + _CROP, x : x + _CROP].contiguous()


def train_autoencoder(
    pool: ScenePool, config: StageConfig, folder: Path, device: torch.device, known: AutoencoderKL | None = None
) -> AutoencoderKL:
    """Train on random crops of `pool`; the latents' scale factor is measured at the end and put into the config.

    `known`: one of pictures half as large, to begin with. Its latents of the pictures at half their size are then kept
    to, loosely, so that a U-Net that knows them can go on from there.
    """
    torch.manual_seed(config.seed + 1)
    model = build_autoencoder(pool.pictures.shape[1])
    if known is not None:
        take_over(model, known)
    model = model.to(device)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        pixels = _crops(pool, config.batch, generator).to(device)
        posterior = model.encode(pixels).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator).to(device)
        loss = _unlike(model.decode(latents).sample.float(), pixels) + _KL_WEIGHT * posterior.kl().mean()
        if known is None:
            return loss
        with torch.no_grad():
            theirs = known.encode(shrink(pixels, _CROP // 2)).latent_dist.mean
        return loss + _KNOWN_WEIGHT * F.mse_loss(posterior.mean.float(), theirs.float())

    average = fit(model, loss_of_step, config, folder, "autoencoder")
    sample = average.encode(pool.batch(torch.arange(min(512, len(pool.scenes)))).to(device)).latent_dist.mean
    standardise_latents(average, sample)
    return average


def train_decoder(
    pool: ScenePool, config: StageConfig, folder: Path, device: torch.device, published: AutoencoderKL
) -> AutoencoderKL:
    """Train on the decoder alone: the latents stay what the U-Net knows; it gets used to latents a little wrong."""
    torch.manual_seed(config.seed + 1)
    model = deepcopy(published).to(device)
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        pixels = _crops(pool, config.batch, generator).to(device)
        side = _CROP // _FACTOR
        wrong = _DECODER_NOISE * torch.rand(len(pixels), 1, 1, 1, generator=generator)
        wrong = (wrong * torch.randn(len(pixels), _CHANNELS, side, side, generator=generator)).to(device)

        def loss_of(rows: slice) -> Tensor:
            with torch.no_grad():
                latents = model.encode(pixels[rows]).latent_dist.mean + wrong[rows]
            return _unlike(model.decode(latents).sample.float(), pixels[rows])

        return by_parts(loss_of, device)

    return fit(model, loss_of_step, config, folder, "decoder")


@torch.no_grad()
def take_over(model: AutoencoderKL, known: AutoencoderKL) -> None:
    """Put `known`, of pictures half as large, between a first level that halves the side and a last one."""
    states, theirs = model.state_dict(), known.state_dict()
    for key, value in theirs.items():
        states[re.sub(r"(encoder\.down_blocks\.)(\d)", lambda m: f"{m[1]}{int(m[2]) + 1}", key)] = value.clone()
    for name in ("encoder.down_blocks.0.resnets.0", *(f"decoder.up_blocks.3.resnets.{i}" for i in range(2))):
        states[f"{name}.conv2.weight"].zero_()  # a new block passes on what it gets
        states[f"{name}.conv2.bias"].zero_()
    channels = torch.arange(states["encoder.down_blocks.0.downsamplers.0.conv.weight"].shape[0])
    halve, double = "encoder.down_blocks.0.downsamplers.0.conv", "decoder.up_blocks.2.upsamplers.0.conv"
    for name in (halve, double):
        states[f"{name}.weight"].zero_()
        states[f"{name}.bias"].zero_()
    states[f"{halve}.weight"][channels, channels, :2, :2] = 0.25
    states[f"{double}.weight"][channels, channels, 1, 1] = 1
    model.load_state_dict(states)


@torch.no_grad()
def standardise_latents(model: AutoencoderKL, latents: Tensor) -> None:
    """Fold mean 0 and variance 1 of every channel of `latents` into the model's own 1 × 1 convolutions.

    One scale factor for all channels, as in Stable Diffusion, would leave the channels that carry outlines far below
    the noise: their variance was a twentieth of that of the channel of background colors.
    """
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    to_latents, from_latents = model.quant_conv, model.post_quant_conv
    channels = len(mean)  # the convolution gives the means first, then the logarithms of the variances
    to_latents.weight[:channels] /= std.view(-1, 1, 1, 1)
    to_latents.bias[:channels] = (to_latents.bias[:channels] - mean) / std
    to_latents.bias[channels:] -= 2 * std.log()
    from_latents.bias += from_latents.weight[:, :, 0, 0] @ mean
    from_latents.weight *= std.view(1, -1, 1, 1)
    model.register_to_config(scaling_factor=1.0)
