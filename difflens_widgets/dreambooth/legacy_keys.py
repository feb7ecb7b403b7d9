"""Old keys in the words of `DreamBoothConfig`: those of version 0.1, and those of the course project's YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SAME = {
    "diffusion_lens_class_noises": "diffusion_lens_class_seeds",  # version 0.1
    "model_name": "pretrained_model_name_or_path",
    "subject_tokens": "unique_identifier",
    "subject_prompt": "instance_prompt",
    "subject_image_dir": "instance_data_dir",
    "prior_data_dir": "class_data_dir",
    "use_prior_preservation": "with_prior_preservation",
    "num_prior_images": "num_class_images",
    "prior_generation_batch_size": "sample_batch_size",
    "lr_scheduler_type": "lr_scheduler",
    "image_resolution": "resolution",
}
_OPTIMIZER = {"weight_decay": "adam_weight_decay", "eps": "adam_epsilon"}
_LENS = {"num_inference_steps", "guidance_scale"}
# keys of the course project for its experiment tracker and scripts; noise schedule and tokenizer come with the model
_WITHOUT_EFFECT = frozenset(
    {
        *("project_name", "task_name", "reuse_last_task_id", "output_uri", "revision", "variant", "tokenizer_name"),
        *("generate_prior_images", "prior_batch_size_train", "use_dreambooth_prompts", "ddpm_num_train_timesteps"),
        *("save_model_steps", "log_image_epochs"),
    }
)


def translate(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Rename the keys of `values`.

    Returns
    -------
    values : dict
        With today's keys; keys that are neither old nor today's stay as they are.
    without_effect : list of str
        Keys of the course project that are ignored here.

    Raises
    ------
    ValueError
        If a key is given under both names, or a group has an unknown part.
    """
    known: dict[str, Any] = {}
    without_effect = [key for key in values if key in _WITHOUT_EFFECT]

    def enter(key: str, name: str, value: Any) -> None:
        if name in known or (name != key and name in values):
            raise ValueError(f"{key}: is the same as {name}, which is given too")
        known[name] = value

    for key, value in values.items():
        if key in _WITHOUT_EFFECT:
            continue
        if key == "optimizer":
            for name, part in _optimizer(value).items():
                enter(f"optimizer: {name}", name, part)
        elif key == "diffusion_lens_params":
            for name, part in _lens(value).items():
                enter(f"diffusion_lens_params: {name}", name, part)
        elif key == "lens_prompt":
            enter(key, "validation_prompts", [value])
        else:
            enter(key, _SAME.get(key, key), value)
    return known, without_effect


def _optimizer(group: Any) -> dict[str, Any]:
    values = _group("optimizer", group, {"type", "betas", *_OPTIMIZER})
    if values.pop("type", "AdamW") != "AdamW":
        raise ValueError("optimizer: type: must be AdamW")
    betas = values.pop("betas", None)
    if betas is not None and (not isinstance(betas, list) or len(betas) != 2):
        raise ValueError(f"optimizer: betas: {betas!r} must be two numbers")
    named = {_OPTIMIZER[key]: value for key, value in values.items()}
    return named if betas is None else {**named, "adam_beta1": betas[0], "adam_beta2": betas[1]}


def _lens(group: Any) -> dict[str, Any]:
    values = _group("diffusion_lens_params", group, {"start_layer", "end_layer", "step_layer", *_LENS})
    ends = [values.pop(key, default) for key, default in (("start_layer", 0), ("end_layer", 64), ("step_layer", 1))]
    if not all(type(end) is int for end in ends) or ends[0] < 0 or ends[2] < 1:
        raise ValueError(f"diffusion_lens_params: start, end and step {ends} must be whole numbers of layers")
    return {**values, "diffusion_lens_layers": list(range(*ends))}


def _group(name: str, group: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(group, dict):
        raise ValueError(f"{name}: {group!r} must hold {', '.join(sorted(keys))}")
    for key in group:
        if key not in keys:
            raise ValueError(f"{name}: {key}: no such key; known are {', '.join(sorted(keys))}")
    return dict(group)
