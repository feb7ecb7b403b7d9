"""The DreamBooth loss: the target of the prediction, the weights of the timesteps, and the share of the prior."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")


def noise_schedule_of(pipe: Any) -> DDPMScheduler:
    """The noise schedule that the model was trained with, whatever scheduler the pipeline samples with.

    Raises
    ------
    ValueError
        If the model predicts something that this training does not support.
    """
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    if schedule.config.prediction_type not in PREDICTIONS:
        raise ValueError(
            f"pretrained_model_name_or_path: the model's prediction type is {schedule.config.prediction_type!r}, "
            f"this training supports {' and '.join(PREDICTIONS)}"
        )
    return schedule


def target_of(schedule: DDPMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the model should predict: the noise, or the velocity."""
    if schedule.config.prediction_type == "epsilon":
        return noise
    return schedule.get_velocity(clean, noise, timesteps)


def timestep_weights(schedule: DDPMScheduler, timesteps: Tensor, gamma: float | None, floor: float = 0.0) -> Tensor:
    """Min-SNR-γ weights (Hang et al. 2023), none below `floor`; all 1 without `gamma`.

    The weight is min(SNR, γ) / SNR for a predicted noise. The error of a velocity is SNR + 1 times that of the image,
    so its weight is min(SNR, γ) / (SNR + 1): 0 where a schedule ends in pure noise, where the first sampling step
    chooses the colors. `floor` keeps these timesteps in the training.

    Returns
    -------
    float32 Tensor (rows,)
    """
    if gamma is None:
        return torch.ones(timesteps.shape, device=timesteps.device)
    snr = compute_snr(schedule, timesteps)
    if schedule.config.prediction_type == "epsilon":
        weights = (gamma / snr).clamp(max=1)  # 1 also where SNR is 0
    else:
        weights = snr.clamp(max=gamma) / (snr + 1)
    return weights.clamp(min=floor)


def dreambooth_loss(
    predicted: Tensor, target: Tensor, weights: Tensor, *, instance_rows: int, prior_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch: the mean of the instance rows plus `prior_weight` times the mean of the prior rows.

    Parameters
    ----------
    predicted, target : Tensor (rows, C, h, w)
    weights : Tensor (rows,)
    instance_rows : int
        How many rows, from the first on, are of the instance; all others are of the prior.
    prior_weight : float

    Returns
    -------
    loss : scalar Tensor
    parts : dict of str → scalar Tensor
        "instance_loss" and "prior_loss" with prior preservation, else empty.
    """
    rows = F.mse_loss(predicted.float(), target.float(), reduction="none").mean((1, 2, 3)) * weights
    instance = rows[:instance_rows].mean()
    if instance_rows == len(rows):
        return instance, {}
    prior = rows[instance_rows:].mean()
    return instance + prior_weight * prior, {"instance_loss": instance, "prior_loss": prior}
