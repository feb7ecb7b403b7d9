"""DreamBoothConfig: everything a training is told, checked before anything is computed. Needs no torch."""

from __future__ import annotations

import dataclasses
import difflib
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .config_checks import check_prompts, check_values, typed
from .history.events import Probe
from .legacy_keys import translate

SUBJECT = "difflens-dog"
"""As `instance_data_dir`: the four drawn pictures of one dog that ship with the package."""

_SHIPPED = Path(__file__).parent  # holds YAML files too


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
    diffusion_lens_class_noises : int
        From how many noises the class prompt is painted, this one and the next: with several the history says when the
        class loses its variety.
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
    diffusion_lens_class_noises: int = 2
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    validation_prompts: tuple[str, ...] = ()
    keep_epoch_weights: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for entry in fields(self):
            object.__setattr__(self, entry.name, typed(entry.name, getattr(self, entry.name), hints[entry.name]))
        check_values({entry.name: getattr(self, entry.name) for entry in fields(self)})
        check_prompts(self)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the lens paints: instance, class and validation prompts, then the class from other noises."""
        probes = [Probe(self.instance_prompt, "instance")]
        if self.class_prompt:
            probes.append(Probe(self.class_prompt, "class"))
        for prompt in self.validation_prompts:
            named = self.unique_identifier is not None and self.unique_identifier.lower() in prompt.lower().split()
            probes.append(Probe(prompt, "instance" if named else "control"))
        if self.class_prompt:
            probes += [Probe(self.class_prompt, "class", noise) for noise in range(1, self.diffusion_lens_class_noises)]
        first: dict[str, Probe] = {}
        for probe in probes:
            first.setdefault(probe.name, probe)
        return tuple(first.values())

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


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError('YAML files need PyYAML: pip install "difflens_widgets[train]"') from None
    return yaml
