"""Trained weights on disk, in the formats that stock diffusers loads, and the model that they belong to.

LoRA: a folder that `pipe.load_lora_weights` takes. Full training: the folders ``unet`` and ``text_encoder``, each for
its class' `from_pretrained`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from .. import loading
from .._fingerprint import weight_hash
from ._tensors import replacing_folder
from .config import DreamBoothConfig

FACTS = loading.TRAINED
_LORA = "pytorch_lora_weights.safetensors"
_PREFIX = "text_model."


def save_weights(pipe: Any, folder: str | Path, config: DreamBoothConfig, *, model_hash: str = "") -> Path:
    """Write what was trained of `pipe`; the folder appears under its name when it is complete.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays as it was.
    """
    path = Path(folder)
    with replacing_folder(path, "trained weights") as temporary:
        if config.use_lora:
            _save_lora(pipe, temporary, config)
        else:
            pipe.unet.save_pretrained(temporary / "unet", safe_serialization=True)
            if config.train_text_encoder:
                pipe.text_encoder.save_pretrained(temporary / "text_encoder", safe_serialization=True)
                for file in (temporary / "text_encoder").glob("*.safetensors"):
                    _with_old_names(file)
        facts = {
            "model": config.pretrained_model_name_or_path,
            "model_hash": model_hash,
            "dtype": str(pipe.dtype),
            "use_lora": config.use_lora,
        }
        (temporary / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return path


def load_tuned(
    model: str | Path,
    folder: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Any:
    """Load a model and put trained weights into it; returns the diffusers pipeline.

    Raises
    ------
    ValueError
        If the folder holds no trained weights, or those of another model.
    """
    path = Path(folder)
    facts = _facts(path)
    if facts["use_lora"]:
        loading.require_peft(path / _LORA)
    pipe, name = loading.load_pipeline(model, device, dtype)
    if facts.get("model_hash") and facts.get("dtype") == str(pipe.dtype):  # rounded to another dtype it differs
        found = weight_hash(pipe)
        if found != facts["model_hash"]:
            raise ValueError(
                f"{path}: these weights were trained on another model than {model}: "
                f"on {facts.get('model')!r}, whose weights have the hash {facts['model_hash']}; here it is {found}"
            )
    if facts["use_lora"]:
        loading.load_lora(pipe, path / _LORA, name)
        return pipe
    options = {loading._dtype_keyword(): pipe.dtype, "use_safetensors": True, "local_files_only": True}
    with loading._quiet():
        pipe.unet = type(pipe.unet).from_pretrained(path / "unet", **options).to(pipe.device)
        if (path / "text_encoder").is_dir():
            encoder = type(pipe.text_encoder).from_pretrained(path / "text_encoder", **options)
            pipe.text_encoder = encoder.to(pipe.device)
    return pipe


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not isinstance(facts.get("use_lora"), bool):
            raise ValueError("it does not say how it was trained")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a folder of trained weights: {FACTS}: {error}") from None
    return facts


def _save_lora(pipe: Any, folder: Path, config: DreamBoothConfig) -> None:
    from peft.utils import get_peft_model_state_dict

    # peft's names: diffusers' older ones exist for attention only, and of a file with both it reads but one kind
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipe.unet)}
    if config.train_text_encoder:
        encoder = get_peft_model_state_dict(pipe.text_encoder)
        # transformers ≥ 5.6 has no inner `text_model`; in files it stays, and every release reads it
        layers["text_encoder_lora_layers"] = {
            key if key.startswith(_PREFIX) else _PREFIX + key: value for key, value in encoder.items()
        }
    type(pipe).save_lora_weights(folder, safe_serialization=True, **layers)


def _with_old_names(file: Path) -> None:
    tensors = {_PREFIX + key.removeprefix(_PREFIX): tensor for key, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
