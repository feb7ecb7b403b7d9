"""Measures how much time cached latents save in training: ``difflens bench dreambooth``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from ..dreambooth.config import SUBJECT, DreamBoothConfig
from ..dreambooth.job import TrainingJob
from ..dreambooth.training.loop import Training
from ..dreambooth.training.trainer import prepare_job
from ..models import checks
from .bench_lens import timed
from .bench_models import require_files
from .rows import Row, measured

_WARM_UP = 2


def bench_dreambooth(model: str, steps: int, repeats: int, device: str | None = None) -> Iterator[Row]:
    """Compare the training loop with and without cached latents.

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
    require_files(model)
    with tempfile.TemporaryDirectory(prefix="difflens-bench-") as folder:
        ways = {
            name: _ready(Path(folder), model, cached, device)
            for name, cached in (("cached", True), ("not cached", False))
        }
        where = f"{torch.get_num_threads()} threads, {ways['cached'].accelerator.device}"
        yield Row(f"{model}, batch 4 + 4, LoRA, text encoder trained, {where}")
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
            yield measured(name, rates, "steps/s", digits=3)
        ratios = [a / b for a, b in zip(times["cached"], times["not cached"], strict=True)]
        yield measured("speed-up", ratios, "×", digits=3)
        apart = max(abs(a - b) for a, b in zip(losses["cached"], losses["not cached"], strict=True))
        name = "largest difference of a loss"
        yield Row(f"{name}: {apart:.1e}", name, "", [apart])


def _ready(folder: Path, model: str, cached: bool, device: str | None) -> Training:
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
        device=device,
    )
    training = prepare_job(config).training
    training.make_ready(TrainingJob(training.setup.history, lambda job: None))
    return training
