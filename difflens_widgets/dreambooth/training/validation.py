"""The lens runs of a training: the probe prompts through the layers, from the same noise in every epoch."""

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

_LOOK = 0.1  # seconds between two looks at whether the training was stopped


def is_lens_epoch(config: DreamBoothConfig, epoch: int) -> bool:
    """Whether the probes are painted after `epoch`: 0, k, 2k, ... and the last."""
    return config.use_diffusion_lens and (epoch % config.diffusion_lens_epochs == 0 or epoch == config.num_train_epochs)


def paint_epoch(
    pipe: Any, config: DreamBoothConfig, name: str, history: TrainingHistory, epoch: int, job: TrainingJob
) -> None:
    """Paint those probes that the history does not have yet; returns early when the job is cancelled.

    Raises
    ------
    NotFiniteError
        If no layer gave a picture.
    """
    lens = DiffusionLens(pipe, model=name)
    layers = _layers(config, lens)
    for number, probe in enumerate(config.probes):
        if history.has(epoch, number):
            continue
        if job.cancelled():
            return
        run = _wait(
            lens.start(
                probe.prompt,
                layers=layers,
                negative_prompt=config.negative_prompt,
                seed=config.diffusion_lens_seed + probe.noise,
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
            raise NotFiniteError(f"epoch {epoch}: {probe.prompt!r} could not be painted: {run.message}")
        job.emit(EpochValidated(epoch, number, run))


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
            return lens_job.result(_LOOK)
        except TimeoutError:
            if job.cancelled():
                lens_job.cancel()
    return lens_job.result()
