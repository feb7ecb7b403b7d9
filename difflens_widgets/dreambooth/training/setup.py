"""Everything that can be wrong with a training is found here, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from diffusers import DDPMScheduler
from PIL import Image

from ...models import checks, loading
from ...models.sampling_defaults import SamplingDefaults, chosen_or_default
from ...models.weight_hash import has_weights_of, weight_hash
from ..config import DreamBoothConfig
from ..history import files
from ..history.history import TrainingHistory
from ..rare_tokens import pieces_of, rare_tokens
from .checkpoint import newest_checkpoint, require_same, step_of
from .class_images import ClassImage, class_image_list, given_images
from .images import instance_files, read_image
from .loss import noise_schedule_of
from .processes import PATIENCE
from .sampler import BatchSampler, RowGroup
from .token_embedding import token_id_of
from .trainable import optimizer_class, require_peft

CHECKPOINTS = "checkpoints"


@dataclass
class Setup:
    """A training that is ready to begin or to resume.

    Attributes
    ----------
    config, accelerator, pipe, schedule, history
    name, model_hash : str
        Of the model.
    images : list of PIL.Image
        The instance images, `side` × `side` pixels.
    sampling : SamplingDefaults
        The steps and the guidance scale of the class images.
    class_images, other_class_images : list of ClassImage
        Of `class_prompt` and of `class_prompts`, for prior preservation; some may not be generated yet.
    sampler : BatchSampler
    checkpoint : Path or None
        The training resumes from it.
    messages : list of str
        What the user should know.
    """

    config: DreamBoothConfig
    accelerator: Accelerator
    pipe: Any
    name: str
    model_hash: str
    images: list[Image.Image]
    sampling: SamplingDefaults
    class_images: list[ClassImage]
    other_class_images: list[ClassImage]
    side: int
    sampler: BatchSampler
    schedule: DDPMScheduler
    history: TrainingHistory
    checkpoint: Path | None
    messages: list[str]

    @property
    def checkpoint_folder(self) -> Path:
        """The folder of the checkpoints."""
        return self.history.folder / CHECKPOINTS

    @property
    def checkpointing_steps(self) -> int:
        """How often a checkpoint is saved: as configured, or ten times in a training and at least every 500 steps."""
        return self.config.checkpointing_steps or max(1, min(500, self.sampler.steps // 10))


def prepare(config: DreamBoothConfig, *, resume: bool) -> Setup:
    """Check everything, load the model, and begin or reopen the history.

    Raises
    ------
    ValueError
        Names what is wrong; nothing was computed or changed then.
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
    schedule = _check_model(pipe, name, config)
    side, _ = checks.size(pipe, config.resolution, config.resolution)
    images, messages = _read(paths, side)
    if config.with_prior_preservation and config.class_data_dir and Path(config.class_data_dir).is_dir():
        _read(given_images(Path(config.class_data_dir))[: config.num_class_images], side)
    if config.unique_identifier:
        messages += _about_identifier(pipe, config)

    model_hash = weight_hash(pipe)
    if known is not None:
        if not has_weights_of(pipe, known.model_hash):
            raise ValueError(
                f"output_dir: {folder} holds a training of another model: its weights had the hash "
                f"{known.model_hash}, those of {config.pretrained_model_name_or_path} have {model_hash}"
            )
        model_hash = known.model_hash  # version 0.1 had another kind of hash
    guidance = config.guidance_scale if config.prior_guidance_scale is None else config.prior_guidance_scale
    sampling = chosen_or_default(pipe, config.prior_num_inference_steps or config.num_inference_steps, guidance)
    class_images, others = class_image_list(config, sampling, model_hash, side)
    latent = (pipe.unet.config.in_channels, side // pipe.vae_scale_factor, side // pipe.vae_scale_factor)
    counts = (len(images), len(class_images), len(others))
    sampler = _sampler(config, counts, latent, schedule.config.num_train_timesteps, accelerator.num_processes)
    checkpoint = None
    if known is not None:
        checkpoint, about = newest_checkpoint(folder / CHECKPOINTS, config, model_hash)
        messages += about
        if checkpoint is not None and step_of(checkpoint) > sampler.steps:
            raise ValueError(
                f"{'num_train_epochs' if config.max_train_steps is None else 'max_train_steps'}: the training ends "
                f"after {sampler.steps} steps, but {step_of(checkpoint)} are done already"
            )
    history = known or _begin(accelerator, folder, config, model_hash)
    return Setup(
        config=config,
        accelerator=accelerator,
        pipe=pipe,
        name=name,
        model_hash=model_hash,
        images=images,
        sampling=sampling,
        class_images=class_images,
        other_class_images=others,
        side=side,
        sampler=sampler,
        schedule=schedule,
        history=history,
        checkpoint=checkpoint,
        messages=messages,
    )


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
    require_same(config, history.config)
    return history


def _begin(accelerator: Accelerator, folder: Path, config: DreamBoothConfig, model_hash: str) -> TrainingHistory:
    if accelerator.is_main_process:
        TrainingHistory.create(
            folder,
            config=config.to_dict(),
            model=config.pretrained_model_name_or_path,
            model_hash=model_hash,
            validation_prompts=config.all_validation_prompts,
        )
    accelerator.wait_for_everyone()
    history = TrainingHistory.load(folder)
    history.status, history.message = "running", ""  # `load` takes one that is still running for broken off
    return history


def _accelerator(config: DreamBoothConfig) -> Accelerator:
    """An accelerator for the device and the precision of the config.

    accelerate keeps one state for the whole process, made by its first user. It is made anew if it does not fit.
    """
    cpu = config.device == "cpu"
    shared = PartialState._shared_state
    if shared and shared.get("distributed_type", DistributedType.NO) != DistributedType.NO:
        if cpu and shared["device"].type != "cpu":
            raise ValueError(
                f"device: 'cpu' does not fit the processes of this training, which run on {shared['device']}; "
                "choose the device where they are started: accelerate launch --cpu"
            )
    elif shared and (shared.get("_cpu") != cpu or (cpu and shared["device"].type != "cpu")):
        AcceleratorState._reset_state(reset_partial_state=True)
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != config.mixed_precision:
        AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=cpu, kwargs_handlers=[PATIENCE])
        if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
            raise ValueError("float16 needs an accelerator such as a GPU; bf16 and no work on a CPU")
    except ValueError as error:
        raise ValueError(f"mixed_precision: {config.mixed_precision!r} does not work here: {error}") from None
    if config.device is not None and config.device.partition(":")[0] != accelerator.device.type:
        raise ValueError(
            f"device: {config.device!r} is not what a training would use here, {accelerator.device.type!r}; "
            "leave the key out"
        )
    return accelerator


def _check_model(pipe: Any, name: str, config: DreamBoothConfig) -> DDPMScheduler:
    """Refuse a model that this training does not support; returns its noise schedule."""
    key = "pretrained_model_name_or_path"
    if getattr(pipe, "text_encoder_2", None) is not None or not hasattr(pipe, "unet"):
        raise ValueError(f"{key}: {name} is a {type(pipe).__name__}; this training supports SD 1.x and 2.x")
    if getattr(pipe.text_encoder.config, "use_attention_mask", False):
        raise ValueError(f"{key}: {name}'s text encoder needs an attention mask, which is not supported")
    if config.train_token_embedding:
        token_id = token_id_of(pipe.tokenizer, str(config.unique_identifier))
        if token_id not in pipe.tokenizer(config.instance_prompt).input_ids:
            raise ValueError(
                f"train_token_embedding: {config.unique_identifier!r} is no word by itself in the instance_prompt, "
                f"{config.instance_prompt!r}"
            )
    return noise_schedule_of(pipe)


def _sampler(
    config: DreamBoothConfig,
    counts: tuple[int, int, int],
    latent_shape: tuple[int, int, int],
    timesteps: int,
    num_processes: int,
) -> BatchSampler:
    """`counts`: how many instance images, class images and other class images there are."""
    per_step = config.gradient_accumulation_steps * num_processes
    prior = config.prior_batch_size or config.train_batch_size
    others = config.class_prompts_batch_size or config.train_batch_size
    rows = (config.train_batch_size * per_step, prior * per_step, others * per_step)
    dropout = config.caption_dropout
    of_prior = dropout if config.prior_caption_dropout is None else config.prior_caption_dropout
    groups = map(RowGroup, ("instances", "classes", "class prompts"), counts, rows, (dropout, of_prior, of_prior))
    return BatchSampler(
        seed=config.seed,
        num_epochs=config.num_train_epochs,
        groups=tuple(group for group in groups if group.images),
        latent_shape=latent_shape,
        timesteps=timesteps,
        max_steps=config.max_train_steps,
        stratified=config.stratified_timesteps,
    )


def _read(paths: list[Path], side: int) -> tuple[list[Image.Image], list[str]]:
    read = [read_image(path, side) for path in paths]
    messages = [f"{path.name}: {message}" for path, (_, message) in zip(paths, read, strict=True) if message]
    return [image for image, _ in read], messages


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
