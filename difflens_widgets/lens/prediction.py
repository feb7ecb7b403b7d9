"""What a scheduler does in a run: the clean prediction of each step, and how far the run is, for every scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Evaluation:
    """One call of `scheduler.step`, that is one forward of the denoiser (two of them with guidance).

    Attributes
    ----------
    number, total : int
        Which one it is, from 1 on, of how many.
    step : int
        The denoising step it belongs to, 0 is the first. Second-order schedulers evaluate twice a step.
    ends_step : bool
        Whether it is the last one of its step.
    timestep : Tensor
    latents : Tensor (row, channel, height, width)
        After it.
    prediction : Tensor (row, channel, height, width)
        What the model predicts of the finished latents.
    """

    number: int
    total: int
    step: int
    ends_step: bool
    timestep: Tensor
    latents: Tensor
    prediction: Tensor


def tap(scheduler: Any, num_inference_steps: int, listen: Callable[[Evaluation], None]) -> None:
    """Let `listen` hear of every evaluation of a scheduler that belongs to the run alone."""
    step = scheduler.step
    count = 0

    @wraps(step)  # pipelines ask for the signature to see whether `generator` and `eta` may be passed
    def tapped(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        return_dict = kwargs.pop("return_dict", True)
        noise_level = _noise_level(scheduler, timestep, sample)  # read before the step moves on
        output = step(model_output, timestep, sample, *args, return_dict=True, **kwargs)
        prediction = _told(scheduler, output)
        if prediction is None:
            prediction = clean_prediction(scheduler, model_output, sample, *noise_level)
        total = len(scheduler.timesteps)
        at = count * num_inference_steps // total
        count += 1
        last = count == total
        listen(
            Evaluation(
                number=count,
                total=total,
                step=num_inference_steps - 1 if last else at,
                ends_step=last or count * num_inference_steps // total != at,
                timestep=timestep,
                latents=output.prev_sample,
                prediction=prediction,
            )
        )
        return output if return_dict else (output.prev_sample,)

    scheduler.step = tapped


def clean_prediction(scheduler: Any, model_output: Tensor, sample: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The finished latents that a model's output stands for, where sample = alpha · clean + sigma · noise.

    Parameters
    ----------
    scheduler
        Its config tells what the model predicts.
    model_output, sample : Tensor (row, channel, height, width)
    alpha, sigma : Tensor
        Of the sample as the scheduler keeps it: (sqrt(ᾱ), sqrt(1 - ᾱ)), or (1, σ) where it keeps it unscaled.

    References
    ----------
    Karras et al., "Elucidating the design space", 2022, table 1; Salimans & Ho, "Progressive distillation", 2022
    (velocity).
    """
    kind = getattr(scheduler.config, "prediction_type", "epsilon")
    if kind == "sample":
        return model_output
    if kind == "flow_prediction" or _is_flow(scheduler):
        return sample - sigma * model_output
    if kind == "v_prediction":  # v = alpha · noise - sigma · clean, of the sample scaled to variance 1
        norm = (alpha**2 + sigma**2).sqrt()
        return (alpha * sample / norm - sigma * model_output) / norm
    return (sample - sigma * model_output) / alpha


def _told(scheduler: Any, output: Any) -> Tensor | None:
    """The prediction that a scheduler tells itself; None if it does not."""
    for name in ("pred_original_sample", "denoised"):
        if isinstance(found := getattr(output, name, None), Tensor):
            return found
    if _keeps_predictions(scheduler):
        return scheduler.model_outputs[-1]
    return None


def _keeps_predictions(scheduler: Any) -> bool:
    """Multistep solvers "++" keep the predicted clean latents of their last steps."""
    plus_plus = str(scheduler.config.get("algorithm_type", "")).endswith("dpmsolver++")
    kept = getattr(scheduler, "model_outputs", None) or [None]
    return isinstance(kept[-1], Tensor) and (plus_plus or scheduler.config.get("predict_x0", False))


def _noise_level(scheduler: Any, timestep: Any, sample: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of a sample that is about to be stepped."""
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, Tensor) and len(sigmas) > 1:
        if getattr(scheduler, "step_index", 0) is None and hasattr(scheduler, "_init_step_index"):
            scheduler._init_step_index(timestep)
        index = getattr(scheduler, "step_index", None)
        sigma = sigmas[index if index is not None else 0].to(sample.device, torch.float32)
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t") and not _is_flow(scheduler):  # keeps samples of variance 1
            alpha, sigma = scheduler._sigma_to_alpha_sigma_t(sigma)
            return _as_tensor(alpha, sample), _as_tensor(sigma, sample)
        return _as_tensor(1.0, sample), _as_tensor(sigma, sample)
    cumulative = scheduler.alphas_cumprod.to(sample.device)
    kept = cumulative[int(timestep)].to(torch.float32)
    return _as_tensor(kept.sqrt(), sample), _as_tensor((1 - kept).sqrt(), sample)


def _is_flow(scheduler: Any) -> bool:
    return "FlowMatch" in type(scheduler).__name__ or bool(scheduler.config.get("use_flow_sigmas", False))


def _as_tensor(value: Any, sample: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32, device=sample.device).to(sample.dtype)
