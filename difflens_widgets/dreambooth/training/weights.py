"""Writes trained weights in the formats that stock diffusers loads; `models.tuned` reads them back.

LoRA: a folder for `pipe.load_lora_weights`. Full training: the folders ``unet`` and ``text_encoder``, each for the
`from_pretrained` of its class. A token embedding that was trained: ``learned_embeds.safetensors``, as textual inversion
writes it; here it replaces the embedding of a token that the tokenizer knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ...models.tuned import EMBEDDING, FACTS
from ..config import DreamBoothConfig
from .tensor_files import replacing_folder
from .token_embedding import token_id_of

_PREFIX = "text_model."


def save_weights(pipe: Any, folder: str | Path, config: DreamBoothConfig, *, model_hash: str = "") -> Path:
    """Write what was trained of `pipe`; the folder appears under its name when it is complete.

    Parameters
    ----------
    pipe : StableDiffusionPipeline
    folder : str or Path
    config : DreamBoothConfig
        Tells what was trained.
    model_hash : str
        Of the weights before training; reading the folder into another model is refused.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is untouched.
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
        if config.train_token_embedding:
            _save_embedding(pipe, temporary, str(config.unique_identifier))
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

    # the names of peft: the older ones of diffusers exist for attention only, and of a mixed file it reads one kind
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipe.unet)}
    if config.train_text_encoder:
        encoder = get_peft_model_state_dict(pipe.text_encoder)
        # transformers ≥ 5.6 has no inner `text_model`; in files it stays, and every release reads it
        layers["text_encoder_lora_layers"] = {
            key if key.startswith(_PREFIX) else _PREFIX + key: value for key, value in encoder.items()
        }
    type(pipe).save_lora_weights(folder, safe_serialization=True, **layers)


def _save_embedding(pipe: Any, folder: Path, word: str) -> None:
    vector = pipe.text_encoder.get_input_embeddings().weight[token_id_of(pipe.tokenizer, word)]
    save_file({word: vector.detach().float().clone()}, folder / EMBEDDING, metadata={"format": "pt"})


def _with_old_names(file: Path) -> None:
    tensors = {_PREFIX + key.removeprefix(_PREFIX): tensor for key, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
