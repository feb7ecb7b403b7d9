"""What makes a value of a `DreamBoothConfig` right."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import DreamBoothConfig

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
}
_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(
        ("num_train_epochs", "train_batch_size", "gradient_accumulation_steps", "rank", "sample_batch_size"), 1
    ),
    **dict.fromkeys(("num_class_images", "checkpointing_steps", "checkpoints_total_limit", "lr_num_cycles"), 1),
    **dict.fromkeys(("diffusion_lens_epochs", "diffusion_lens_class_noises", "num_inference_steps", "resolution"), 1),
    **dict.fromkeys(("seed", "diffusion_lens_seed", "lr_warmup_steps", "learning_rate", "prior_loss_weight"), 0),
    **dict.fromkeys(("text_encoder_learning_rate", "adam_weight_decay", "guidance_scale", "max_grad_norm"), 0),
}
_ABOVE_ZERO = ("snr_gamma", "adam_epsilon", "lr_power")
MAX_NOISES = 16
_HALF_OPEN = ("adam_beta1", "adam_beta2", "ema_decay")  # 0 ≤ value < 1


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type; YAML reads 1e-4 as text, and lists where we keep tuples."""
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
    """Each number within its range, each choice one of its kind; those that are None are not asked.

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
        if name in _HALF_OPEN and not 0 <= value < 1:
            raise ValueError(f"{name}: {value} must be at least 0 and less than 1")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name}: {value!r} must be one of {', '.join(_CHOICES[name])}")
    for name in ("seed", "diffusion_lens_seed"):
        if values[name] >= 2**63 - MAX_NOISES:  # the noises after the first count on from it
            raise ValueError(f"{name}: {values[name]} must be less than 2**63 - {MAX_NOISES}")
    if values["diffusion_lens_class_noises"] > MAX_NOISES:
        raise ValueError(
            f"diffusion_lens_class_noises: {values['diffusion_lens_class_noises']} must be at most {MAX_NOISES}"
        )
    resolution, layers = values["resolution"], values["diffusion_lens_layers"]
    if resolution is not None and resolution % 8:
        raise ValueError(f"resolution: {resolution} must be divisible by 8")
    if layers is not None and (not layers or min(layers) < 0 or len(set(layers)) < len(layers)):
        raise ValueError("diffusion_lens_layers: must be layers from 0 on, each once; leave the key out for all")
    if values["lr_scheduler"] == "polynomial" and values["learning_rate"] <= 1e-7:
        raise ValueError("learning_rate: must be above 1e-07, where a polynomial schedule ends")


def check_prompts(config: DreamBoothConfig) -> None:
    """What has to be said is said, and the prompts fit together.

    Raises
    ------
    ValueError
    """
    for name in ("instance_data_dir", "instance_prompt", "output_dir", "pretrained_model_name_or_path"):
        if not getattr(config, name).strip():
            raise ValueError(f"{name}: is empty")
    word = config.unique_identifier
    if word is not None and (not word.strip() or word.lower() not in config.instance_prompt.lower()):
        raise ValueError(f"unique_identifier: {word!r} must be in instance_prompt, which is {config.instance_prompt!r}")
    if config.with_prior_preservation and not (config.class_prompt and config.class_prompt.strip()):
        raise ValueError(
            "class_prompt: missing; with_prior_preservation needs it: what the subject is one of, 'a photo of a dog'"
        )
