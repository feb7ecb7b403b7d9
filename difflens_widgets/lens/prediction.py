"""Listens to a scheduler: the clean prediction and the progress of each step, for every kind of scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Evaluation:
    """One call of `scheduler.step`, which follows one forward of the denoiser (on twice the rows, with guidance).

    Attributes
    ----------
    number, total : int
        The number of this call, from 1, and of all calls.
    step : int
        The denoising step that it belongs to; 0 is the first. Second-order schedulers make two calls in a step.
    ends_step : bool
        Whether it is the last call of its step.
    timestep : Tensor
    sample, latents : Tensor (row, channel, height, width)
        The latents before and after the call.
    prediction : Tensor (row, channel, height, width)
        The model's prediction of the clean latents.
    """

    number: int
    total: int
    step: int
    ends_step: bool
    timestep: Tensor
    sample: Tensor
    latents: Tensor
    prediction: Tensor


def tap(scheduler: Any, num_inference_steps: int, listen: Callable[[Evaluation], None]) -> None:
    """Call `listen` after every `step` of a scheduler that no one else uses."""
    step = scheduler.step
    count = 0

    @wraps(step)  # pipelines read the signature to find out whether it takes `generator` and `eta`
    def tapped(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        return_dict = kwargs.pop("return_dict", True)
        noise_level = _noise_level(scheduler, timestep, sample)  # read before the step changes the scheduler's index
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
                sample=sample,
                latents=output.prev_sample,
                prediction=prediction,
            )
        )
        return output if return_dict else (output.prev_sample,)

    scheduler.step = tapped


def clean_prediction(scheduler: Any, model_output: Tensor, sample: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents that a model output predicts, where sample = alpha · clean + sigma · noise.

    Parameters
    ----------
    scheduler
        Its config states what the model predicts.
    model_output, sample : Tensor (row, channel, height, width)
    alpha, sigma : Tensor
        The noise level of `sample` in the scheduler's scale: (sqrt(ᾱ), sqrt(1 - ᾱ)), or (1, σ) for unscaled samples.

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
    if kind == "v_prediction":  # v = alpha · noise - sigma · clean, for a sample of variance 1
        norm = (alpha**2 + sigma**2).sqrt()
        return (alpha * sample / norm - sigma * model_output) / norm
    return (sample - sigma * model_output) / alpha


def _told(scheduler: Any, output: Any) -> Tensor | None:
    """The prediction in the scheduler's output or state; None if it has none."""
    for name in ("pred_original_sample", "denoised"):
        if isinstance(found := getattr(output, name, None), Tensor):
            return found
    if _keeps_predictions(scheduler):
        return scheduler.model_outputs[-1]
    return None


def _keeps_predictions(scheduler: Any) -> bool:
    """Whether a scheduler keeps its last clean predictions, as multistep "++" solvers do."""
    plus_plus = str(scheduler.config.get("algorithm_type", "")).endswith("dpmsolver++")
    kept = getattr(scheduler, "model_outputs", None) or [None]
    return isinstance(kept[-1], Tensor) and (plus_plus or scheduler.config.get("predict_x0", False))


def _noise_level(scheduler: Any, timestep: Any, sample: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) of a sample before its scheduler step."""
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, Tensor) and len(sigmas) > 1:
        if getattr(scheduler, "step_index", 0) is None and hasattr(scheduler, "_init_step_index"):
            scheduler._init_step_index(timestep)
        index = getattr(scheduler, "step_index", None)
        sigma = sigmas[index if index is not None else 0].to(sample.device, torch.float32)
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t") and not _is_flow(scheduler):  # its samples have variance 1
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
