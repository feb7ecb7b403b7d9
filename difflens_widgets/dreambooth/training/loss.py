"""The DreamBooth loss: what the model should have predicted, how timesteps are weighed, and the prior's share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")


def noise_schedule_of(pipe: Any) -> DDPMScheduler:
    """The noise schedule that the model was trained with, whichever sampler it comes with.

    Raises
    ------
    ValueError
        If the model predicts something that this training does not know.
    """
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    if schedule.config.prediction_type not in PREDICTIONS:
        raise ValueError(
            f"pretrained_model_name_or_path: the model's prediction type is {schedule.config.prediction_type!r}, "
            f"this training knows {' and '.join(PREDICTIONS)}"
        )
    return schedule


def target_of(schedule: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the model should predict: the noise, or the velocity."""
    if schedule.config.prediction_type == "epsilon":
        return noise
    return schedule.get_velocity(clean, noise, timesteps)


def timestep_weights(schedule: DDPMScheduler, timesteps: Tensor, gamma: float | None) -> Tensor:
    """Min-SNR-γ (Hang et al. 2023), float32, one weight per row; 1 without `gamma`.

    min(SNR, γ) / SNR for the noise; a velocity's error is SNR + 1 times that of the picture, so there it is divided by
    SNR + 1.
    """
    if gamma is None:
        return torch.ones(timesteps.shape, device=timesteps.device)
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps].float()
    ratio = kept / (1 - kept)
    if schedule.config.prediction_type == "epsilon":
        return (gamma / ratio).clamp(max=1)  # also right where the schedule ends in pure noise: SNR 0
    return ratio.clamp(max=gamma) / (ratio + 1)


def dreambooth_loss(
    predicted: Tensor, target: Tensor, weights: Tensor, *, kinds: int, prior_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch: that of the instance rows plus `prior_weight` times that of the class rows after them.

    Parameters
    ----------
    predicted, target : Tensor (kinds · samples, C, h, w)
    weights : Tensor (kinds · samples,)
    kinds : 1, or 2 with prior preservation

    Returns
    -------
    loss : scalar Tensor
    parts : dict of str → scalar Tensor
        "instance_loss" and "prior_loss" with prior preservation, else empty.
    """
    rows = F.mse_loss(predicted.float(), target.float(), reduction="none").mean((1, 2, 3)) * weights
    if kinds == 1:
        return rows.mean(), {}
    instance, prior = rows.unflatten(0, (2, -1)).mean(1)
    return instance + prior_weight * prior, {"instance_loss": instance, "prior_loss": prior}
