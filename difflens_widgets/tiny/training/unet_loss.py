"""What the U-Net is asked in training: a noisy latent, a timestep, a caption; and how wrong its answer is.

Velocity prediction with a noise schedule that ends in pure noise (Salimans & Ho 2022; Lin et al. 2023): a plain
background is a picture's mean, and the usual schedule never lets a model choose that mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from .layout import LayoutMaps, ReadingUNet, layout_loss

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,  # means nothing with trailing steps; the stock pipeline warns of anything else
}
_FLOOR = 0.5
_LAYOUT_WEIGHT = 0.05
_CAPTION_DROPOUT = 0.1  # empty prompts, for classifier-free guidance


@dataclass(frozen=True)
class Batch:
    """Rows of one step; `scene` are indices, `told` says whose caption is given."""

    scene: Tensor
    told: Tensor
    noisy: Tensor
    timesteps: Tensor
    velocity: Tensor
    weight: Tensor
    kind: Tensor
    color: Tensor
    material: Tensor

    def parts(self, number: int) -> list[Batch]:
        """Every `number`-th row from the first, second, ... one on: each part has timesteps from everywhere."""
        return [Batch(*(getattr(self, f.name)[part::number] for f in fields(self))) for part in range(number)]


class DenoisingTask:
    """Draws batches from scenes whose latents are known."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.schedule = DDPMScheduler(**SCHEDULE)
        self.share_of_timesteps = cumulative_share_of_timesteps(self.schedule, _FLOOR)

    def batch(self, latents: Tensor, maps: LayoutMaps, size: int, generator: torch.Generator) -> Batch:
        """One batch of scenes with float16 `latents` (scene, 4, 16, 16); all chance comes from the CPU `generator`."""
        chosen = torch.randint(len(latents), (size,), generator=generator)
        told = torch.rand(size, generator=generator) >= _CAPTION_DROPOUT
        clean = latents[chosen].to(self.device, torch.float32)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        # one row per equal share of the distribution: a steadier loss than independent draws
        places = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        timesteps = torch.searchsorted(self.share_of_timesteps, places).clamp(max=len(self.share_of_timesteps) - 1)
        timesteps = timesteps.to(self.device)
        return Batch(
            scene=chosen,
            told=told.to(self.device),
            noisy=self.schedule.add_noise(clean, noise, timesteps),
            timesteps=timesteps,
            velocity=self.schedule.get_velocity(clean, noise, timesteps),
            weight=maps.weight[chosen].to(self.device, torch.float32).unsqueeze(1),
            kind=maps.kind[chosen].to(self.device),
            color=maps.color[chosen].to(self.device),
            material=maps.material[chosen].to(self.device),
        )


def loss_of(reading: ReadingUNet, batch: Batch, text: Tensor) -> Tensor:
    """The scalar loss of `reading` on `batch`, given the text states (row, token, width)."""
    velocity, logits = reading(batch.noisy, batch.timesteps, text)
    wrong = (batch.weight * (velocity - batch.velocity) ** 2).mean()
    told = batch.told  # without a caption nobody can know what stands where
    maps = (batch.kind[told], batch.color[told], batch.material[told])
    return wrong + _LAYOUT_WEIGHT * layout_loss(logits[told], *maps)


def cumulative_share_of_timesteps(schedule: DDPMScheduler, floor: float) -> Tensor:
    """How often each timestep is trained, as a cumulative distribution, float32 (timesteps,).

    In proportion to the min-SNR-5 weight of a velocity loss (Hang et al. 2023), drawn instead of weighted so that no
    row is spent on a weight near zero. An even draw spends itself on the colors of backgrounds, which are most of the
    latents' variance, and leaves shapes to blobs: that was measured. The floor is the weight of the noisiest timesteps,
    where backgrounds and then the kinds of things are decided.
    """
    kept = schedule.alphas_cumprod.double()
    ratio = kept / (1 - kept)
    density = ratio.clamp(max=5) / (ratio + 1)
    density = torch.where(ratio < 5, density.clamp(min=floor), density)
    return (density.cumsum(0) / density.sum()).float()
