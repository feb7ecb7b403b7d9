"""DreamBoothConfig: everything a training is told, checked before anything is computed. Needs no torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ._course_keys import translate
from .events import Probe

SUBJECT = "difflens-dog"
"""As `instance_data_dir`: the four drawn pictures of one dog that ship with the package."""

_SHIPPED = Path(__file__).parent / "subject"
_LR_SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
)
_CHOICES = {"mixed_precision": ("no", "fp16", "bf16"), "lr_scheduler": _LR_SCHEDULERS}
_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(
        ("num_train_epochs", "train_batch_size", "gradient_accumulation_steps", "rank", "sample_batch_size"), 1
    ),
    **dict.fromkeys(("num_class_images", "checkpointing_steps", "checkpoints_total_limit", "lr_num_cycles"), 1),
    **dict.fromkeys(("diffusion_lens_epochs", "num_inference_steps", "resolution"), 1),
    **dict.fromkeys(("seed", "diffusion_lens_seed", "lr_warmup_steps", "learning_rate", "prior_loss_weight"), 0),
    **dict.fromkeys(("text_encoder_learning_rate", "adam_weight_decay", "guidance_scale", "max_grad_norm"), 0),
}
_OPEN_RANGES = {"snr_gamma": (0, math.inf), "adam_epsilon": (0, math.inf), "lr_power": (0, math.inf)}
_HALF_OPEN = ("adam_beta1", "adam_beta2", "ema_decay")  # 0 ≤ value < 1


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    """How to teach a model one subject. Names are those of diffusers' DreamBooth scripts where these have one.

    Attributes
    ----------
    instance_data_dir : str
        The folder with the 3 to 5 pictures of the subject; "difflens-dog" are the four that ship with the package.
    instance_prompt : str
        What is in them, the identifier included: "a photo of xon dog".
    unique_identifier : str, optional
        The word that gets to mean the subject; must be in `instance_prompt`.
    class_prompt : str, optional
        What the subject is one of: "a photo of a dog".
    negative_prompt : str, optional
        For the pictures that are painted: the lens', and those of the class. The training has no use for it.
    output_dir : str
        Gets the history, the checkpoints and the trained weights.
    pretrained_model_name_or_path : str
        "tiny" (the embedded model), a diffusers folder or a hub id; SD 1.x or 2.x.
    with_prior_preservation : bool
        Also train on pictures of the class that the model itself painted before, so that it keeps the class.
    prior_loss_weight : float
    class_data_dir : str, optional
        Pictures of the class; what is missing to `num_class_images` is painted into it. Default: in `output_dir`.
    num_class_images, sample_batch_size : int
        How many; how many are painted at once.
    train_text_encoder : bool
    use_lora : bool
        Train low-rank additions to the attention (and, with `lora_layers` "all", to all linear and convolution layers)
        instead of all weights.
    rank : int
        Of the additions; their alpha is the same, so they act at strength 1.
    lora_layers : "attention" or "all"
    num_train_epochs : int
        One epoch is one pass over the instance pictures.
    train_batch_size : int
        Instance pictures at once, in each process; as many pictures of the class come with them.
    gradient_accumulation_steps : int
        Batches of one optimizer step.
    learning_rate, text_encoder_learning_rate : float
        Of all; of the text encoder if it has another.
    lr_scheduler : str
        One of diffusers': constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial.
    lr_warmup_steps, lr_num_cycles, lr_power
        Of that schedule; in optimizer steps.
    snr_gamma : float, optional
        Weigh timesteps by min-SNR-γ (Hang et al. 2023), usually 5.
    max_grad_norm : float
        Gradients are clipped to it; 0 leaves them.
    adam_beta1, adam_beta2, adam_weight_decay, adam_epsilon : float
    use_8bit_adam : bool
        Needs bitsandbytes.
    mixed_precision : "no", "fp16" or "bf16"
    gradient_checkpointing : bool
        Less memory for more time.
    cache_latents : bool
        Encode each picture once, as the mean and the log-variance of its latents: what is drawn stays exact.
    use_ema, ema_decay
        Paint and keep a moving average of the weights.
    resolution : int, optional
        Pictures are cropped to this square, in pixels. Default: what the model was trained for.
    seed : int
        Of everything: step k of a training depends on nothing but (seed, k) and the weights.
    checkpointing_steps, checkpoints_total_limit : int
        How often the state to go on from is saved, and how many of these are kept.
    use_diffusion_lens : bool
        Paint the probe prompts through the layers while training.
    diffusion_lens_epochs : int
        How often; at 0 epochs, and after the last, too.
    diffusion_lens_layers : tuple of int, optional
        Which; those the text encoder does not have are left out. Default: all.
    diffusion_lens_seed : int
        The noise they all start from.
    num_inference_steps, guidance_scale
        Of all pictures that are painted.
    validation_prompts : tuple of str
        More prompts for the lens: with the identifier the subject elsewhere, without it controls.
    keep_epoch_weights : bool
        Keep the weights of each painted epoch, for `history.lens(epoch)`; otherwise those of the last only.
    device : str, optional
        "cpu" keeps a machine's accelerator out of it.

    Raises
    ------
    ValueError
        Naming the key, its value, and what would be right.
    """

    instance_data_dir: str
    instance_prompt: str
    unique_identifier: str | None = None
    class_prompt: str | None = None
    negative_prompt: str | None = None
    output_dir: str = "dreambooth-output"
    pretrained_model_name_or_path: str = "tiny"

    with_prior_preservation: bool = False
    prior_loss_weight: float = 1.0
    class_data_dir: str | None = None
    num_class_images: int = 100
    sample_batch_size: int = 4

    train_text_encoder: bool = False
    use_lora: bool = True
    rank: int = 8
    lora_layers: str = "attention"
    num_train_epochs: int = 100
    train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    text_encoder_learning_rate: float | None = None
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    lr_num_cycles: int = 1
    lr_power: float = 1.0
    snr_gamma: float | None = None
    max_grad_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_weight_decay: float = 0.01
    adam_epsilon: float = 1e-8
    use_8bit_adam: bool = False
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    cache_latents: bool = True
    use_ema: bool = False
    ema_decay: float = 0.99
    resolution: int | None = None
    seed: int = 0
    checkpointing_steps: int = 500
    checkpoints_total_limit: int = 2

    use_diffusion_lens: bool = True
    diffusion_lens_epochs: int = 50
    diffusion_lens_layers: tuple[int, ...] | None = None
    diffusion_lens_seed: int = 0
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    validation_prompts: tuple[str, ...] = ()
    keep_epoch_weights: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for entry in fields(self):
            object.__setattr__(self, entry.name, _typed(entry.name, getattr(self, entry.name), hints[entry.name]))
        _check_values(self)
        _check_prompts(self)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the lens paints: the instance prompt, the class prompt, then the validation prompts."""
        probes = [Probe(self.instance_prompt, "instance")]
        if self.class_prompt:
            probes.append(Probe(self.class_prompt, "class"))
        for prompt in self.validation_prompts:
            named = self.unique_identifier is not None and self.unique_identifier.lower() in prompt.lower().split()
            probes.append(Probe(prompt, "instance" if named else "control"))
        return tuple({probe.prompt: probe for probe in reversed(probes)}.values())[::-1]

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON and YAML can keep them."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DreamBoothConfig:
        """Make a config from keys and values; the keys of the course project's files work too.

        Raises
        ------
        ValueError
            Also for an unknown or missing key; names the nearest.
        """
        known, without_effect = translate(values)
        if without_effect:
            warnings.warn(f"of no effect here and passed over: {', '.join(without_effect)}", stacklevel=2)
        names = [entry.name for entry in fields(cls)]
        for key in known:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1, 0.5)
                raise ValueError(f"{key}: no such key" + (f"; did you mean {near[0]}?" if near else ""))
        for entry in fields(cls):
            if entry.default is dataclasses.MISSING and entry.name not in known:
                raise ValueError(f"{entry.name}: missing; every training needs it")
        return cls(**known)

    @classmethod
    def from_yaml(cls, path: str | Path) -> DreamBoothConfig:
        """Read a YAML file; a bare name that is no file here is looked for among those that ship with the package.

        Raises
        ------
        ValueError
            If it is no YAML, or its keys or values are wrong; names the file.
        FileNotFoundError
        """
        yaml = _yaml()
        file = Path(path)
        if not file.exists() and file.name == str(path) and (_SHIPPED / file.name).suffix in (".yaml", ".yml"):
            file = _SHIPPED / file.name if (_SHIPPED / file.name).is_file() else file
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path}: expected lines of the form key: value")
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_yaml(self, path: str | Path) -> Path:
        """Write all keys and values as YAML."""
        text = _yaml().safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        Path(path).write_text(text, encoding="utf-8")
        return Path(path)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type; YAML reads 1e-4 as text, and lists where we keep tuples."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, range)):
            raise ValueError(f"{name}: {value!r} must be a list")
        return tuple(_typed(name, one, item) for one in value)
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


def _check_values(config: DreamBoothConfig) -> None:
    values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: {value} must be a finite number")
        if name in _AT_LEAST and value < _AT_LEAST[name]:
            raise ValueError(f"{name}: {value} must be at least {_AT_LEAST[name]}")
        if name in _OPEN_RANGES and not _OPEN_RANGES[name][0] < value:
            raise ValueError(f"{name}: {value} must be greater than {_OPEN_RANGES[name][0]}")
        if name in _HALF_OPEN and not 0 <= value < 1:
            raise ValueError(f"{name}: {value} must be at least 0 and less than 1")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name}: {value!r} must be one of {', '.join(_CHOICES[name])}")
    for name in ("seed", "diffusion_lens_seed"):
        if values[name] >= 2**63:
            raise ValueError(f"{name}: {values[name]} must be less than 2**63")
    if config.lora_layers not in ("attention", "all"):
        raise ValueError(f"lora_layers: {config.lora_layers!r} must be attention or all")
    if config.resolution is not None and config.resolution % 8:
        raise ValueError(f"resolution: {config.resolution} must be divisible by 8")
    if config.diffusion_lens_layers is not None and (
        not config.diffusion_lens_layers
        or min(config.diffusion_lens_layers) < 0
        or len(set(config.diffusion_lens_layers)) < len(config.diffusion_lens_layers)
    ):
        raise ValueError("diffusion_lens_layers: must be layers from 0 on, each once; leave the key out for all")


def _check_prompts(config: DreamBoothConfig) -> None:
    for name in ("instance_data_dir", "instance_prompt", "output_dir", "pretrained_model_name_or_path"):
        if not getattr(config, name).strip():
            raise ValueError(f"{name}: is empty")
    word = config.unique_identifier
    if word is not None and (not word.strip() or word.lower() not in config.instance_prompt.lower()):
        raise ValueError(f"unique_identifier: {word!r} must be in instance_prompt, which is {config.instance_prompt!r}")
    if config.with_prior_preservation and not (config.class_prompt and config.class_prompt.strip()):
        raise ValueError(
            "class_prompt: missing; with_prior_preservation needs it, such as 'a photo of a dog' for 'a photo of xon dog'"
        )


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError('YAML files need PyYAML: pip install "difflens_widgets[train]"') from None
    return yaml
