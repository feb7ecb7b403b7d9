"""Every scheduler that diffusers exports and Stable Diffusion takes: progress, steps, and the clean prediction."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers import KarrasDiffusionSchedulers

from difflens_widgets import DiffusionLens
from difflens_widgets.lens.prediction import Evaluation, clean_prediction, tap
from difflens_widgets.runs.events import Event, Progress
from pipelines import small_pipeline

PROMPT = "a red circle"
STEPS = 6
OTHERS = ("LCMScheduler", "TCDScheduler", "DDPMParallelScheduler", "DDIMParallelScheduler", "SASolverScheduler")
NOT_FOR_SD = {"EDMEulerScheduler"}  # scales its samples for models of its own
SCHEDULERS = sorted(({each.name for each in KarrasDiffusionSchedulers} | {*OTHERS}) - NOT_FOR_SD)


def scheduler_of(name: str, **options: Any) -> Any:
    try:
        return getattr(diffusers, name)(beta_schedule="scaled_linear", **options)
    except ImportError as error:
        pytest.skip(str(error).strip().splitlines()[0])


def painted(name: str) -> tuple[DiffusionLens, Any, list[Progress], list[tuple[int, int]]]:
    pipe = small_pipeline(diffusers.DDIMScheduler)
    pipe.scheduler = scheduler_of(name)
    pipe.scheduler.register_to_config(clip_sample=False)  # random weights would be cut off at every step
    lens = DiffusionLens(pipe, batch_size=2)
    told: list[Progress] = []
    steps: list[tuple[int, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            told.append(event)

    job = lens._jobs(
        PROMPT,
        layers=[0, 4],
        num_inference_steps=STEPS,
        snapshots=range(STEPS),
        on_step=lambda layer, step, timestep, latents: steps.append((layer, step)),
    )[0]
    job.subscribe(listen, previews=False)
    return lens, job.wait(), told, steps


@pytest.mark.parametrize("name", SCHEDULERS)
def test_steps_and_progress_mean_the_same(name) -> None:
    lens, run, told, steps = painted(name)
    assert run.status == "done"
    assert steps == [(layer, step) for step in range(STEPS) for layer in (4, 0)]
    assert sorted(run.snapshots) == [(layer, step) for layer in (0, 4) for step in range(STEPS)]
    shares = [event.step / event.steps for event in told]
    assert (shares[0], shares[-1]) == (0, 1)
    assert shares == sorted(shares)
    left = [event.seconds_left for event in told if event.seconds_left is not None]
    assert left[-1] == 0
    assert all(seconds > 0 for seconds in left[:-2])
    # the last prediction is the picture, but where a scheduler adds noise at its end
    generator = torch.Generator().manual_seed(0)
    stock = lens.pipe(PROMPT, num_inference_steps=STEPS, generator=generator).images[0]
    assert np.abs(np.asarray(stock, int) - np.asarray(run.images[4], int)).max() <= 1


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_perfect_model_is_seen_through_the_noise(name, prediction_type) -> None:
    """A model that knows the noise: at every step the prediction is the clean sample, whatever the scheduler keeps."""
    clean, noise = (torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    clean = (0.3 * clean).clamp(-0.99, 0.99)  # some schedulers cut what they predict off at 1
    try:
        scheduler = scheduler_of(name, prediction_type=prediction_type)
        scheduler.set_timesteps(STEPS)
    except (NotImplementedError, TypeError, ValueError) as error:
        pytest.skip(str(error)[:80])
    heard: list[Evaluation] = []
    tap(scheduler, STEPS, heard.append)
    try:
        for timestep in scheduler.timesteps:
            alpha, sigma = noise_level(scheduler, timestep)
            sample = alpha * clean + sigma * noise
            norm = (alpha**2 + sigma**2) ** 0.5
            outputs = {
                "epsilon": noise,
                "v_prediction": (alpha * noise - sigma * clean) / norm,
                "sample": clean,
            }
            scheduler.step(outputs[prediction_type], timestep, sample)
    except (NotImplementedError, ValueError) as error:
        pytest.skip(str(error)[:80])
    assert len(heard) == len(scheduler.timesteps)
    for now in heard:
        torch.testing.assert_close(now.prediction, clean, rtol=0, atol=2e-2)


def noise_level(scheduler: Any, timestep: torch.Tensor) -> tuple[float, float]:
    """(alpha, sigma) of the samples that a scheduler keeps, told by how it scales them for the model."""
    if not hasattr(scheduler, "sigmas"):
        kept = float(scheduler.alphas_cumprod[int(timestep)])
        return kept**0.5, (1 - kept) ** 0.5
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        sigma = float(scheduler.sigmas[scheduler.step_index])
        return 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5
    scale = float(scheduler.scale_model_input(torch.ones(1, dtype=torch.float64), timestep))
    return 1.0, (1 / scale**2 - 1) ** 0.5


def test_flow_matching() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    sample, velocity = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0)
    found = clean_prediction(scheduler, velocity, sample, torch.tensor(1.0), torch.tensor(0.25))
    assert torch.equal(found, sample - 0.25 * velocity)
