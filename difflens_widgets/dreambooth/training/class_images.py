"""Pictures of the class, painted once by the model itself before it learns anything, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...models.pipeline_state import quiet
from ...runs.format.atomic_write import replacing
from ..config import DreamBoothConfig
from .images import picture_files, read_picture
from .sampler import generator_of


def class_folder(config: DreamBoothConfig, model_hash: str, side: int) -> Path:
    """Where they are: where the user says, or a folder of the output that is named after all they depend on."""
    if config.class_data_dir:
        return Path(config.class_data_dir)
    told = [model_hash, side, config.class_prompt, config.negative_prompt, config.num_inference_steps]
    told += [config.guidance_scale, config.seed, config.sample_batch_size]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
    return Path(config.output_dir) / "class_pictures" / key


def class_pictures(
    pipe: Any,
    config: DreamBoothConfig,
    folder: Path,
    side: int,
    *,
    cancelled: Callable[[], bool],
    said: Callable[[int, int], None],
) -> list[Image.Image] | None:
    """Read `num_class_images` pictures of the class, painting those that are missing; None when cancelled.

    A picture depends on its number alone, also when they are painted in two goes: groups of `sample_batch_size` are
    always the same, and one that is incomplete is painted again.

    Raises
    ------
    ValueError
        If a picture that is there cannot be read or is too small.
    OSError
        If one cannot be saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = [path for path in picture_files(folder) if not path.name.startswith("painted-")]
    paths = given[: config.num_class_images]
    wanted = [folder / f"painted-{number:05d}.png" for number in range(config.num_class_images - len(paths))]
    group = config.sample_batch_size
    for start in range(0, len(wanted), group):
        missing = [path for path in wanted[start : start + group] if not path.is_file()]
        if missing and cancelled():
            return None
        if missing:
            said(len(paths) + start, config.num_class_images)
            for number, image in enumerate(_paint(pipe, config, side, start), start):
                if number < len(wanted):
                    with replacing(wanted[number], "a picture of the class") as file:
                        image.save(file, "PNG")
    return [read_picture(path, side)[0] for path in [*paths, *wanted]]


@torch.inference_mode()
def _paint(pipe: Any, config: DreamBoothConfig, side: int, start: int) -> list[Image.Image]:
    numbers = range(start, start + config.sample_batch_size)
    with quiet(pipe):
        result = pipe(
            [config.class_prompt] * len(numbers),
            negative_prompt=None if config.negative_prompt is None else [config.negative_prompt] * len(numbers),
            height=side,
            width=side,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale,
            generator=[generator_of(config.seed, "class pictures", number) for number in numbers],
        )
    return list(result.images)
