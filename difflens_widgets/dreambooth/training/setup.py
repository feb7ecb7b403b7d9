"""Everything that can be wrong with a training is found here, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import DDPMScheduler
from PIL import Image

from ...models import checks, loading
from ...models.weight_hash import weight_hash
from ..config import DreamBoothConfig
from ..history import files as files
from ..history.history import TrainingHistory
from ..rare_tokens import pieces_of, rare_tokens
from .checkpoint import checkpoints, require_same
from .class_images import class_folder
from .images import instance_files, picture_files, read_picture
from .loss import noise_schedule_of
from .sampler import Plan
from .trainable import optimizer_class, require_peft

CHECKPOINTS = "checkpoints"


@dataclass
class Setup:
    """A training that is ready to begin, or to go on."""

    config: DreamBoothConfig
    accelerator: Accelerator
    pipe: Any
    name: str
    model_hash: str
    images: list[Image.Image]
    side: int
    plan: Plan
    schedule: DDPMScheduler
    history: TrainingHistory
    checkpoint: Path | None  # to go on from
    notices: list[str]

    @property
    def checkpoint_folder(self) -> Path:
        """Where the states to go on from are."""
        return self.history.folder / CHECKPOINTS


def prepare(config: DreamBoothConfig, *, resume: bool) -> Setup:
    """Check all, load the model, and begin (or take up) the history.

    Raises
    ------
    ValueError
        Naming what is wrong; nothing was computed or changed then.
    OSError
        If something cannot be read or written.
    """
    folder = Path(config.output_dir)
    paths = instance_files(config.instance_data_dir)
    optimizer_class(config)
    if config.use_lora:
        require_peft()
    known = _known_history(folder, config, resume)
    accelerator = _accelerator(config)

    half = {"fp16": torch.float16, "bf16": torch.bfloat16}
    dtype = half.get(config.mixed_precision, torch.float32) if config.use_lora else torch.float32
    pipe, name = loading.load_pipeline(config.pretrained_model_name_or_path, accelerator.device, dtype)
    if getattr(pipe, "text_encoder_2", None) is not None or not hasattr(pipe, "unet"):
        raise ValueError(
            f"pretrained_model_name_or_path: {name} is a {type(pipe).__name__}; this training knows SD 1.x and 2.x"
        )
    if getattr(pipe.text_encoder.config, "use_attention_mask", False):
        raise ValueError(f"pretrained_model_name_or_path: {name}'s text encoder wants a mask, which is not supported")
    schedule = noise_schedule_of(pipe)
    side, _ = checks.size(pipe, config.resolution, config.resolution)
    images, notices = _read(paths, side)
    if config.with_prior_preservation and config.class_data_dir and Path(config.class_data_dir).is_dir():
        _read(picture_files(Path(config.class_data_dir))[: config.num_class_images], side)
    if config.unique_identifier:
        notices += _about_identifier(pipe, config)

    model_hash = weight_hash(pipe)
    saved = checkpoints(folder / CHECKPOINTS)
    if known is not None and known.model_hash != model_hash:
        raise ValueError(
            f"output_dir: {folder} holds a training of another model: its weights had the hash "
            f"{known.model_hash}, those of {config.pretrained_model_name_or_path} have {model_hash}"
        )
    samples = config.train_batch_size * config.gradient_accumulation_steps * accelerator.num_processes
    plan = Plan(
        seed=config.seed,
        epochs=config.num_train_epochs,
        instances=len(images),
        classes=config.num_class_images if config.with_prior_preservation else 0,
        samples=samples,
        latent_shape=(pipe.unet.config.in_channels, side // pipe.vae_scale_factor, side // pipe.vae_scale_factor),
        timesteps=schedule.config.num_train_timesteps,
    )
    history = known or _begin(accelerator, folder, config, model_hash)
    return Setup(
        config=config,
        accelerator=accelerator,
        pipe=pipe,
        name=name,
        model_hash=model_hash,
        images=images,
        side=side,
        plan=plan,
        schedule=schedule,
        history=history,
        checkpoint=saved[-1] if known is not None and saved else None,
        notices=notices,
    )


def class_folder_of(setup: Setup) -> Path:
    """Where this training's pictures of the class are kept."""
    return class_folder(setup.config, setup.model_hash, setup.side)


def _known_history(folder: Path, config: DreamBoothConfig, resume: bool) -> TrainingHistory | None:
    there = (folder / files.TRAINING).exists()
    if there and not resume:
        raise ValueError(
            f"output_dir: {folder} holds a training already; "
            "resume it (resume=True, --resume), or give another folder for a new one"
        )
    if not resume:
        return None
    if not there:
        raise ValueError(f"output_dir: {folder} holds no training to resume")
    history = TrainingHistory.load(folder)
    require_same(config.to_dict(), history.config)
    return history


def _begin(accelerator: Accelerator, folder: Path, config: DreamBoothConfig, model_hash: str) -> TrainingHistory:
    if accelerator.is_main_process:
        TrainingHistory.create(
            folder,
            config=config.to_dict(),
            model=config.pretrained_model_name_or_path,
            model_hash=model_hash,
            probes=config.probes,
        )
    accelerator.wait_for_everyone()
    history = TrainingHistory.load(folder)
    history.status, history.message = "running", ""  # `load` takes one that is still running for broken off
    return history


def _accelerator(config: DreamBoothConfig) -> Accelerator:
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != config.mixed_precision:
        AcceleratorState._reset_state()  # it is kept for the process, and refuses another training's precision
    try:
        accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=config.device == "cpu")
        if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
            raise ValueError("float16 needs an accelerator such as a GPU; bf16 and no work on a CPU")
        return accelerator
    except ValueError as error:
        raise ValueError(f"mixed_precision: {config.mixed_precision!r} does not work here: {error}") from None


def _read(paths: list[Path], side: int) -> tuple[list[Image.Image], list[str]]:
    read = [read_picture(path, side) for path in paths]
    notices = [f"{path.name}: {said}" for path, (_, said) in zip(paths, read, strict=True) if said]
    return [image for image, _ in read], notices


def _about_identifier(pipe: Any, config: DreamBoothConfig) -> list[str]:
    word = str(config.unique_identifier)
    pieces = pieces_of(pipe.tokenizer, word)
    if len(pieces) == 1:
        return []
    class_word = (config.class_prompt or config.instance_prompt).split()[-1]
    others = ", ".join(token.text for token in rare_tokens(pipe, class_word, 5)) or "none found"
    return [
        f"unique_identifier: {word!r} is not one token but {len(pieces)} ({' + '.join(pieces)}), "
        f"each with a meaning of its own; single rare tokens of this model are: {others}"
    ]
