"""DreamBoothConfig: all settings of a training, checked before anything is computed. Needs no torch."""

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
from .history.events import ValidationPrompt
from .legacy_keys import translate

SUBJECT = "difflens-dog"
"""As `instance_data_dir`: the four drawn images of one dog that ship with the package."""

_SHIPPED = Path(__file__).parent  # has YAML files too


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    """How to teach a model one subject. The names are those of diffusers' DreamBooth scripts where these have one.

    Attributes
    ----------
    instance_data_dir : str
        The folder with the 3 to 5 images of the subject; "difflens-dog" are the four that ship with the package.
    instance_prompt : str
        Describes them, identifier included: "a photo of xon dog".
    unique_identifier : str, optional
        The word that is to mean the subject; must be in `instance_prompt`.
    class_prompt : str, optional
        The class of the subject: "a photo of a dog".
    negative_prompt : str, optional
        For generated images: those of the lens and of the class. Training does not use it.
    output_dir : str
        Gets the history, the checkpoints and the trained weights.
    pretrained_model_name_or_path : str
        "tiny" (the embedded model), a diffusers folder or a hub id; SD 1.x or 2.x.
    with_prior_preservation : bool
        Also train on images of `class_prompt` and `class_prompts` that the model generated before, so it keeps them.
    class_prompts : list of str
        More prompts for prior preservation: a sample of what else the model should keep.
    prior_loss_weight : float; that of the instance images is 1
    prior_target : "images" or "raw_model"
        What the prior rows are trained on: the images, or what the model before the training predicts for them, which
        keeps more of it. This takes a third more time a row, and without LoRA a copy of the U-Net.
    class_data_dir : str, optional
        Images of `class_prompt`; if there are fewer than `num_class_images`, the others are generated into it.
        Default: a folder in `output_dir`.
    num_class_images, images_per_class_prompt : int
        How many images of `class_prompt`, and of each of `class_prompts`.
    sample_batch_size : int
        How many of them are generated at once.
    prior_num_inference_steps, prior_guidance_scale : int, float, optional
        Of these images. Default: those of the lens. Little guidance keeps the class varied: the model learns what
        guidance made, and is then guided once more.
    train_text_encoder : bool
    train_token_embedding : bool
        Also train the embedding of `unique_identifier`, which must be one token ("pivotal tuning"): LoRA changes no
        embedding, so without this layer 0 cannot learn.
    use_lora : bool
        Train low-rank additions to the attention (with `lora_layers` "all": to all linear and convolution layers)
        instead of all weights.
    rank : int
        Of the additions; their alpha is the same, so they act at strength 1.
    lora_layers : "attention" or "all"
    num_train_epochs : int; one epoch is one pass over the instance images
    max_train_steps : int, optional
        End after this many optimizer steps, whatever `num_train_epochs` is.
    train_batch_size : int; instance images at once, in each process
    prior_batch_size, class_prompts_batch_size : int, optional
        How many images of `class_prompt`, and of `class_prompts`, each batch has besides. Default: `train_batch_size`.
    gradient_accumulation_steps : int; batches of one optimizer step
    learning_rate, text_encoder_learning_rate, token_embedding_learning_rate : float
        The first is for everything that has none of its own.
    lr_scheduler : str
        One of diffusers': constant, constant_with_warmup, linear, cosine, cosine_with_restarts, polynomial.
    lr_warmup_steps, lr_num_cycles, lr_power : of that schedule; in optimizer steps
    caption_dropout, prior_caption_dropout : float
        Share of the instance rows, and of all others (default: the same), whose prompt is replaced by the empty one,
        0 ≤ share < 1. So the unconditional prediction learns too, and guidance does not exaggerate the difference. If
        it learns mostly the subject, guidance leads all else away from the subject.
    snr_gamma : float, optional
        Weigh timesteps by min-SNR-γ (Hang et al. 2023), usually 5.
    timestep_weight_floor : float
        The least weight of a timestep, 0..1; min-SNR gives a velocity loss weight 0 where the noise hides everything.
    stratified_timesteps : bool
        Spread the timesteps of each step's rows evenly instead of drawing them independently: less noise in the loss.
    max_grad_norm : float
        Gradients are clipped to it; 0 leaves them.
    adam_beta1, adam_beta2, adam_weight_decay, adam_epsilon : float
    use_8bit_adam : bool, needs bitsandbytes
    mixed_precision : "no", "fp16" or "bf16"
    gradient_checkpointing : bool, takes less memory and more time
    cache_latents : bool
        Encode each image once, as mean and log-variance of its latents: samples of them are distributed as without.
    use_ema, ema_decay : validate and keep an exponential moving average of the weights
    resolution : int, optional
        Images are cropped to this square, in pixels. Default: the resolution the model was trained for.
    seed : int
        Step k of a training depends only on (seed, k) and the weights.
    checkpointing_steps : int, optional
        How often a checkpoint is saved. Default: ten times in a training, and at least every 500 steps.
    checkpoints_total_limit : int
        How many checkpoints are kept.
    use_diffusion_lens : bool
        Run the lens on the validation prompts while training.
    diffusion_lens_epochs : int
        How often; also before and after the training.
    diffusion_lens_layers : tuple of int, optional
        Which layers; those that the text encoder does not have are left out. Default: all.
    diffusion_lens_seed, diffusion_lens_class_seeds : int
        All images of the lens start from the noise of the first. The second: with how many seeds, from it on, the lens
        runs on the class prompt; several show when the class loses its variety.
    num_inference_steps, guidance_scale : int, float, optional; default: the model's own
    validation_prompts : tuple of str
        More prompts for the lens: with the identifier they show the subject elsewhere, without it they are controls.
    keep_epoch_weights : bool
        Keep the weights of each validated epoch, for `history.lens(epoch)`; otherwise of the last epoch only.
    device : str, optional
        "cpu" trains on the CPU of a machine that has an accelerator.

    Raises
    ------
    ValueError
        Names the key, its value, and what is possible.
    """

    instance_data_dir: str
    instance_prompt: str
    unique_identifier: str | None = None
    class_prompt: str | None = None
    negative_prompt: str | None = None
    output_dir: str = "dreambooth-output"
    pretrained_model_name_or_path: str = "tiny"

    # A training resumes with the same values. So a key that is added later must default to what trainings did before.
    with_prior_preservation: bool = False
    class_prompts: tuple[str, ...] = ()
    prior_loss_weight: float = 1.0
    prior_target: str = "images"
    class_data_dir: str | None = None
    num_class_images: int = 100
    images_per_class_prompt: int = 1
    sample_batch_size: int = 4

    train_text_encoder: bool = False
    train_token_embedding: bool = False
    use_lora: bool = True
    rank: int = 8
    lora_layers: str = "attention"
    num_train_epochs: int = 100
    max_train_steps: int | None = None
    train_batch_size: int = 1
    prior_batch_size: int | None = None
    class_prompts_batch_size: int | None = None
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    text_encoder_learning_rate: float | None = None
    token_embedding_learning_rate: float | None = None
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    lr_num_cycles: int = 1
    lr_power: float = 1.0
    caption_dropout: float = 0.0
    prior_caption_dropout: float | None = None
    snr_gamma: float | None = None
    timestep_weight_floor: float = 0.0
    stratified_timesteps: bool = False
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
    checkpointing_steps: int | None = None
    checkpoints_total_limit: int = 2

    use_diffusion_lens: bool = True
    diffusion_lens_epochs: int = 50
    diffusion_lens_layers: tuple[int, ...] | None = None
    diffusion_lens_seed: int = 0
    diffusion_lens_class_seeds: int = 2
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    prior_num_inference_steps: int | None = None
    prior_guidance_scale: float | None = None
    validation_prompts: tuple[str, ...] = ()
    keep_epoch_weights: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for entry in fields(self):
            object.__setattr__(self, entry.name, typed(entry.name, getattr(self, entry.name), hints[entry.name]))
        check_values(vars(self))
        check_prompts(vars(self))

    @property
    def prior_prompts(self) -> tuple[str, ...]:
        """The prompts of prior preservation: `class_prompt`, then the others of `class_prompts`."""
        if not self.with_prior_preservation:
            return ()
        first = (self.class_prompt,) if self.class_prompt else ()
        return (*first, *(prompt for prompt in self.class_prompts if prompt != self.class_prompt))

    @property
    def all_validation_prompts(self) -> tuple[ValidationPrompt, ...]:
        """What the lens runs on: instance, class and `validation_prompts`, then the class with other seeds."""
        prompts = [ValidationPrompt(self.instance_prompt, "instance")]
        if self.class_prompt:
            prompts.append(ValidationPrompt(self.class_prompt, "class"))
        for prompt in self.validation_prompts:
            subject = self.unique_identifier is not None and self.unique_identifier.lower() in prompt.lower().split()
            prompts.append(ValidationPrompt(prompt, "instance" if subject else "control"))
        if self.class_prompt:
            offsets = range(1, self.diffusion_lens_class_seeds)
            prompts += [ValidationPrompt(self.class_prompt, "class", offset) for offset in offsets]
        first: dict[str, ValidationPrompt] = {}
        for each in prompts:
            first.setdefault(each.name, each)
        return tuple(first.values())

    def to_dict(self) -> dict[str, Any]:
        """Keys and values as JSON and YAML keep them."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DreamBoothConfig:
        """Make a config from keys and values; keys of version 0.1 and of the course project's files work too.

        Raises
        ------
        ValueError
            Also for an unknown or missing key; names the nearest.
        """
        known, without_effect = translate(values)
        if without_effect:
            warnings.warn(f"of no effect here and ignored: {', '.join(without_effect)}", stacklevel=2)
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
        """Read a YAML file; a bare file name that does not exist here may be one that ships with the package.

        Raises
        ------
        ValueError
            If it is not YAML, or its keys or values are wrong; names the file.
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
