"""Measures what the cache of images saves a training that the lens watches: ``difflens bench dreambooth --lens``.

The weights of a training move at every step, so all that a second training of the same model can take over is what the
untrained model painted: the lens at epoch 0, and the class images of prior preservation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch

from ..dreambooth.config import SUBJECT, DreamBoothConfig
from ..dreambooth.history.history import TrainingHistory
from ..dreambooth.training.trainer import prepare_job
from ..models import checks
from .bench_lens import largest_difference, timed
from .bench_models import require_files
from .rows import Row, measured

PROMPTS = (
    "a photo of xon dog on a blue background",
    "a red circle on a white background",
    "a pink cat on a green background",
)
"""Beside the instance and the class prompt: five in all."""


def bench_dreambooth_lens(
    model: str, steps: int, repeats: int, device: str | None = None, *, validations: int = 8, class_images: int = 100
) -> Iterator[Row]:
    """Compare whole trainings without a cache, with an empty one, and with one that a training has filled.

    Each trains LoRA of U-Net and text encoder on the embedded subject, 4 + 4 images a step, and the lens paints all
    layers of 5 prompts at every validation. The second training has another learning rate, as who tunes one would run.

    Parameters
    ----------
    model, device
        As in a `DreamBoothConfig`.
    steps : int
        Denoising steps of all images, ≥ 1.
    repeats : int
        How many turns, ≥ 1.
    validations : int
        With the one before the training, ≥ 2.
    class_images : int
        Of prior preservation, ≥ 1.

    Raises
    ------
    ValueError, TypeError
        For arguments that cannot work.
    OSError
        If the model cannot be loaded.
    """
    checks.as_int("steps", steps, at_least=1)
    checks.as_int("repeats", repeats, at_least=1)
    validations = checks.as_int("--validations", validations, at_least=2)
    class_images = checks.as_int("--class-images", class_images, at_least=1)
    require_files(model)
    return _measure(model, steps, repeats, device, validations, class_images)


def _measure(
    model: str, steps: int, repeats: int, device: str | None, validations: int, class_images: int
) -> Iterator[Row]:
    times: dict[str, list[float]] = {"no cache": [], "empty cache": [], "filled cache": []}
    for turn in range(repeats):
        with tempfile.TemporaryDirectory(prefix="difflens-bench-") as folder:
            runs: dict[str, TrainingHistory] = {}
            for way, spent in times.items():
                config = DreamBoothConfig(
                    pretrained_model_name_or_path=model,
                    instance_data_dir=SUBJECT,
                    instance_prompt="a photo of xon dog",
                    class_prompt="a photo of a dog",
                    output_dir=str(Path(folder, way)),
                    with_prior_preservation=True,
                    num_class_images=class_images,
                    num_inference_steps=steps,
                    train_text_encoder=True,
                    train_batch_size=4,
                    learning_rate=2e-4 if way == "filled cache" else 1e-4,
                    num_train_epochs=validations - 1,
                    diffusion_lens_epochs=1,
                    diffusion_lens_class_seeds=1,
                    validation_prompts=PROMPTS,
                    keep_epoch_weights=False,
                    checkpointing_steps=10**6,
                    device=device,
                )
                with _cache("off" if way == "no cache" else str(Path(folder, "cache"))):
                    job = prepare_job(config)
                    runs[way] = timed(spent, job.wait)
            if turn == 0:
                yield _about(model, steps, runs["no cache"], class_images)
                apart = _largest_difference(runs["no cache"], runs["filled cache"])
                taken = {way: _from_cache(history) for way, history in runs.items()}
    for way, spent in times.items():
        yield measured(way, spent)
    for way in ("empty cache", "filled cache"):
        ratios = [plain / mine for plain, mine in zip(times["no cache"], times[way], strict=True)]
        yield measured(f"speed-up, {way}", ratios, "×", width=22)
    name = "images of the lens that came from the cache"
    yield Row(f"{name}: {', '.join(f'{way} {number}' for way, number in taken.items())}", name, "", figures=taken)
    name = "largest pixel difference at epoch 0"
    yield Row(f"{name}: {apart} of 255", name, "of 255", [apart])


def _about(model: str, steps: int, history: TrainingHistory, class_images: int) -> Row:
    runs = [run for by_prompt in history.runs.values() for run in by_prompt.values()]
    epochs, prompts, layers = len(history.epochs), len(history.validation_prompts), len(runs[0].layers)
    what = f"{epochs} validations × {prompts} prompts × {layers} layers, {class_images} class images"
    painted = sum(len(run.images) for run in runs)
    figures = {"validations": epochs, "prompts": prompts, "layers": layers, "images": painted}
    threads = torch.get_num_threads()
    return Row(f"{model}, LoRA, {what}, {steps} denoising steps, {threads} threads", "training", "", figures=figures)


def _from_cache(history: TrainingHistory) -> int:
    runs = [run for by_prompt in history.runs.values() for run in by_prompt.values()]
    return sum(len(run.settings.get("from_cache", ())) for run in runs)


def _largest_difference(some: TrainingHistory, other: TrainingHistory) -> int:
    """Of the images at epoch 0, which come from the cache in one of the trainings."""
    pairs = [(some.run(0, index), other.run(0, index)) for index in range(len(some.validation_prompts))]
    return max(largest_difference(a.images, b.images) for a, b in pairs)


@contextmanager
def _cache(where: str) -> Iterator[None]:
    """Set DIFFLENS_CACHE inside this `with`."""
    with mock.patch.dict(os.environ, {"DIFFLENS_CACHE": where}):
        yield
