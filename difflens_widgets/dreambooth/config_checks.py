"""Checks of the values of a `DreamBoothConfig`."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LR_SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
)
_CHOICES = {
    "mixed_precision": ("no", "fp16", "bf16"),
    "lr_scheduler": _LR_SCHEDULERS,
    "lora_layers": ("attention", "all"),
    "prior_target": ("images", "raw_model"),
}
_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(("num_train_epochs", "max_train_steps", "train_batch_size", "gradient_accumulation_steps"), 1),
    **dict.fromkeys(("rank", "sample_batch_size", "prior_batch_size", "class_prompts_batch_size"), 1),
    **dict.fromkeys(("num_class_images", "images_per_class_prompt", "lr_num_cycles"), 1),
    **dict.fromkeys(("checkpointing_steps", "checkpoints_total_limit"), 1),
    **dict.fromkeys(("diffusion_lens_epochs", "diffusion_lens_class_seeds", "num_inference_steps", "resolution"), 1),
    "prior_num_inference_steps": 1,
    **dict.fromkeys(("seed", "diffusion_lens_seed", "lr_warmup_steps", "learning_rate", "prior_loss_weight"), 0),
    **dict.fromkeys(("text_encoder_learning_rate", "token_embedding_learning_rate", "adam_weight_decay"), 0),
    **dict.fromkeys(("guidance_scale", "prior_guidance_scale", "max_grad_norm", "timestep_weight_floor"), 0),
}
_ABOVE_ZERO = ("snr_gamma", "adam_epsilon", "lr_power")
_BELOW_ONE = ("adam_beta1", "adam_beta2", "ema_decay", "caption_dropout", "prior_caption_dropout")  # 0 ≤ value < 1
MAX_CLASS_SEEDS = 16


def typed(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the type of its field: YAML reads 1e-4 as text, and lists where a config has tuples.

    Raises
    ------
    ValueError
        If it has another type.
    """
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, range)):
            raise ValueError(f"{name}: {value!r} must be a list")
        return tuple(typed(name, one, item) for one in value)
    if hint is float and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} must be a number") from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is str and isinstance(value, Path):
        value = str(value)
    if type(value) is not hint:
        expected = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}[hint]
        raise ValueError(f"{name}: {value!r} must be {expected}")
    return value


def check_values(values: Mapping[str, Any]) -> None:
    """Check that each number is in its range and each choice is possible; None means that a key is not given.

    Raises
    ------
    ValueError
    """
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: {value} must be a finite number")
        if name in _AT_LEAST and value < _AT_LEAST[name]:
            raise ValueError(f"{name}: {value} must be at least {_AT_LEAST[name]}")
        if name in _ABOVE_ZERO and value <= 0:
            raise ValueError(f"{name}: {value} must be greater than 0")
        if name in _BELOW_ONE and not 0 <= value < 1:
            raise ValueError(f"{name}: {value} must be at least 0 and less than 1")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name}: {value!r} must be one of {', '.join(_CHOICES[name])}")
    for name in ("seed", "diffusion_lens_seed"):
        if values[name] >= 2**63 - MAX_CLASS_SEEDS:  # offsets are added to it
            raise ValueError(f"{name}: {values[name]} must be less than 2**63 - {MAX_CLASS_SEEDS}")
    seeds = values["diffusion_lens_class_seeds"]
    if seeds > MAX_CLASS_SEEDS:
        raise ValueError(f"diffusion_lens_class_seeds: {seeds} must be at most {MAX_CLASS_SEEDS}")
    if values["timestep_weight_floor"] > 1:
        raise ValueError(f"timestep_weight_floor: {values['timestep_weight_floor']} must be at most 1")
    resolution, layers = values["resolution"], values["diffusion_lens_layers"]
    if resolution is not None and resolution % 8:
        raise ValueError(f"resolution: {resolution} must be divisible by 8")
    if layers is not None and (not layers or min(layers) < 0 or len(set(layers)) < len(layers)):
        raise ValueError("diffusion_lens_layers: must be layers from 0 on, each once; leave the key out for all")
    if values["lr_scheduler"] == "polynomial" and values["learning_rate"] <= 1e-7:
        raise ValueError("learning_rate: must be above 1e-07, where a polynomial schedule ends")


def check_prompts(values: Mapping[str, Any]) -> None:
    """Check that the required texts are there, and that prompts and identifier fit together.

    Raises
    ------
    ValueError
    """
    for name in ("instance_data_dir", "instance_prompt", "output_dir", "pretrained_model_name_or_path"):
        if not values[name].strip():
            raise ValueError(f"{name}: is empty")
    word, instance = values["unique_identifier"], values["instance_prompt"]
    if word is not None and (not word.strip() or word.lower() not in instance.lower()):
        raise ValueError(f"unique_identifier: {word!r} must be in instance_prompt, which is {instance!r}")
    if values["train_token_embedding"] and word is None:
        raise ValueError("train_token_embedding: needs unique_identifier, the word whose embedding is trained")
    if values["with_prior_preservation"]:
        _check_class_prompts(values["class_prompt"], values["class_prompts"], instance)
    elif values["class_prompts"]:
        raise ValueError("class_prompts: are used for prior preservation only; set with_prior_preservation: true")


def _check_class_prompts(class_prompt: str | None, class_prompts: tuple[str, ...], instance: str) -> None:
    if not (class_prompt and class_prompt.strip()) and not class_prompts:
        raise ValueError(
            "class_prompt: missing; with_prior_preservation needs it: what the subject is one of, 'a photo of a dog'"
        )
    for prompt in class_prompts:
        if not prompt.strip():
            raise ValueError("class_prompts: one of them is empty")
    for name, prompts in (("class_prompt", (class_prompt or "",)), ("class_prompts", class_prompts)):
        if any(prompt.strip().lower() == instance.strip().lower() for prompt in prompts):
            raise ValueError(
                f"{name}: {instance!r} is the instance_prompt: prior preservation would teach the model that the "
                "subject stays as it was; give prompts without the subject"
            )
    twice = next((prompt for index, prompt in enumerate(class_prompts) if prompt in class_prompts[:index]), None)
    if twice is not None:
        raise ValueError(f"class_prompts: {twice!r} is there twice")
