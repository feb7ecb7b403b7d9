"""Writes trained weights in the formats that stock diffusers loads; `models.tuned` reads them back.

LoRA: a folder that `pipe.load_lora_weights` takes. Full training: the folders ``unet`` and ``text_encoder``, each for
its class' `from_pretrained`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ...models.tuned import FACTS
from ..config import DreamBoothConfig
from .tensor_files import replacing_folder

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
