"""Measures how much time cached latents save in training: ``difflens bench dreambooth``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from ..dreambooth.config import SUBJECT, DreamBoothConfig
from ..dreambooth.job import TrainingJob
from ..dreambooth.training.loop import Training
from ..dreambooth.training.trainer import prepare_job
from ..models import checks
from .bench_lens import timed

_WARM_UP = 2


def bench_dreambooth(model: str, steps: int, repeats: int) -> Iterator[str]:
    """Compare the training loop with and without cached latents; yields lines to print.

    Both train LoRA on the embedded subject with prior preservation and the text encoder, batch 4 + 4, from the same
    start and on the same noise. They take turns, `repeats` times `steps` steps. The time to generate class images and
    to encode the cached latents is not counted.

    Raises
    ------
    ValueError, TypeError
        If `steps` or `repeats` is not valid.
    OSError
        If the model cannot be loaded.
    """
    checks.as_int("steps", steps, at_least=1)
    checks.as_int("repeats", repeats, at_least=1)
    with tempfile.TemporaryDirectory(prefix="difflens-bench-") as folder:
        ways = {name: _ready(Path(folder), model, cached) for name, cached in (("cached", True), ("not cached", False))}
        device = ways["cached"].accelerator.device
        yield f"{model}, batch 4 + 4, LoRA, text encoder trained, {torch.get_num_threads()} threads, {device}"
        times: dict[str, list[float]] = {name: [] for name in ways}
        losses: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(repeats + 1):
            for name, training in ways.items():
                spent: list[float] = []
                for _ in range(_WARM_UP if turn == 0 else steps):
                    losses[name].append(timed(spent, training.step)["loss"])
                if turn:
                    times[name].append(len(spent) / sum(spent))
        for name, rates in times.items():
            yield f"{name:<12} median {median(rates):6.3f} steps/s   (least {min(rates):.3f}, most {max(rates):.3f})"
        ratios = [a / b for a, b in zip(times["cached"], times["not cached"], strict=True)]
        yield f"speed-up     median {median(ratios):6.3f} ×         (least {min(ratios):.3f}, most {max(ratios):.3f})"
        apart = max(abs(a - b) for a, b in zip(losses["cached"], losses["not cached"], strict=True))
        yield f"largest difference of a loss: {apart:.1e}"


def _ready(folder: Path, model: str, cached: bool) -> Training:
    config = DreamBoothConfig(
        pretrained_model_name_or_path=model,
        instance_data_dir=SUBJECT,
        instance_prompt="a photo of xon dog",
        class_prompt="a photo of a dog",
        output_dir=str(folder / ("cached" if cached else "not-cached")),
        class_data_dir=str(folder / "class"),
        with_prior_preservation=True,
        num_class_images=8,
        num_inference_steps=4,
        train_text_encoder=True,
        train_batch_size=4,
        num_train_epochs=10**6,
        use_diffusion_lens=False,
        cache_latents=cached,
    )
    training = prepare_job(config).training
    training.make_ready(TrainingJob(training.setup.history, lambda job: None))
    return training
