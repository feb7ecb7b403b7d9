"""Validation: the lens runs on the validation prompts, from the same noise at every epoch."""

from __future__ import annotations

from typing import Any

from ...lens.diffusion_lens import DiffusionLens
from ...runs.events import Message
from ...runs.job import LensJob
from ...runs.run import LensRun
from ..config import DreamBoothConfig
from ..history.events import EpochValidated
from ..history.history import TrainingHistory
from ..job import TrainingJob
from .checkpoint import NotFiniteError

_POLL = 0.1  # seconds between two checks whether the training was cancelled


def is_validation_epoch(config: DreamBoothConfig, epoch: int, last: int) -> bool:
    """Whether the lens runs after `epoch`: 0, k, 2k, ... and the last, where k is `diffusion_lens_epochs`."""
    return config.use_diffusion_lens and (epoch % config.diffusion_lens_epochs == 0 or epoch == last)


def validate(
    pipe: Any, config: DreamBoothConfig, name: str, history: TrainingHistory, epoch: int, job: TrainingJob
) -> None:
    """Run the lens on those prompts that have no run at this epoch yet; returns early if the job is cancelled.

    Raises
    ------
    NotFiniteError
        If no layer gave an image.
    """
    lens = DiffusionLens(pipe, model=name)
    layers = _layers(config, lens)
    for index, prompt in enumerate(config.all_validation_prompts):
        if history.has(epoch, index):
            continue
        if job.cancelled():
            return
        run = _wait(
            lens.start(
                prompt.prompt,
                layers=layers,
                negative_prompt=config.negative_prompt,
                seed=config.diffusion_lens_seed + prompt.seed_offset,
                num_inference_steps=config.num_inference_steps,
                guidance_scale=config.guidance_scale,
                height=config.resolution,
                width=config.resolution,
            ),
            job,
        )
        if run.status == "stopped":
            return
        if run.status != "done":
            raise NotFiniteError(f"epoch {epoch}: {prompt.prompt!r} gave no image: {run.message}")
        job.emit(EpochValidated(epoch, index, run))


def _layers(config: DreamBoothConfig, lens: DiffusionLens) -> list[int] | None:
    if config.diffusion_lens_layers is None:
        return None
    there = [layer for layer in config.diffusion_lens_layers if layer < lens.num_layers]
    if not there:
        raise ValueError(
            f"diffusion_lens_layers: {list(config.diffusion_lens_layers)} are all beyond this encoder's "
            f"0..{lens.num_layers - 1}"
        )
    return there


def _wait(lens_job: LensJob, job: TrainingJob) -> LensRun:
    def pass_on(event: Any) -> None:
        if isinstance(event, Message):
            job.emit(event)

    lens_job.subscribe(pass_on, previews=False)
    while not lens_job.done():
        try:
            return lens_job.result(_POLL)
        except TimeoutError:
            if job.cancelled():
                lens_job.cancel()
    return lens_job.result()
