"""Loads a tuned model: a whole pipeline, a LoRA file, or the weights that a DreamBooth training saved."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .loading import TINY, dtype_keyword, load_pipeline, quiet_libraries
from .lora import load_lora
from .weight_files import shapes_in, whole_model_class
from .weight_hash import has_weights_of, weight_hash

FACTS = "difflens.json"  # next to the weights that a DreamBooth training saves
EMBEDDING = "learned_embeds.safetensors"  # in the same folder: the embedding of a token, under the token's text
_LORA_NAME = "pytorch_lora_weights"  # diffusers' file name
_LORA = f"{_LORA_NAME}.safetensors"


def load_tuned_pipeline(
    raw: str | Path,
    tuned: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    text_encoder: str | None = None,
) -> tuple[Any, str]:
    """Load a tuned model: a folder or hub id as in `load_pipeline`, or `raw` with LoRA or trained weights.

    Parameters
    ----------
    raw : str or Path
        The model that the LoRA or trained weights belong to.
    tuned : str or Path
        A diffusers folder, a hub id, a single-file checkpoint, a ``.safetensors`` file with LoRA weights, a folder with
        one, or a folder of weights that `train_dreambooth` saved.

    Returns
    -------
    pipe : the pipeline
    name : str
        For the labels of its runs; it ends with "(in part)" if tensors of a LoRA file have no place in the model, which
        is warned about.

    Raises
    ------
    ValueError
        If a folder is none of these, or the weights do not belong to the model.
    OSError
        If a hub id cannot be loaded.
    """
    place = Path(tuned).expanduser()
    if (place / FACTS).is_file():
        return load_tuned(raw, place, device, dtype), f"{TINY if str(raw) == 'tiny' else Path(raw).name}, tuned"
    file = _lora_file(place)
    if file is None or whole_model_class(list(shapes_in(file))) is not None:
        return load_pipeline(tuned, device, dtype, text_encoder)
    require_peft(file)
    pipe, name = load_pipeline(raw, device, dtype, text_encoder)
    missing = load_lora(pipe, file, name)
    label = f"{name} + {file.parent.name if file.stem == _LORA_NAME else file.stem}"
    return pipe, f"{label} (in part)" if missing else label


def require_peft(file: Path) -> None:
    """Refuse LoRA weights if peft is not installed, before a model is loaded."""
    if importlib.util.find_spec("peft") is None:
        raise ValueError(f'{file}: a LoRA needs peft: pip install "difflens_widgets[train]"')


def _lora_file(path: Path) -> Path | None:
    """The file with LoRA weights at a path; None if the path is a whole model."""
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ValueError(f"{path}: only .safetensors files are read as LoRA weights")
        return path
    if not path.is_dir() or (path / "model_index.json").is_file():
        return None
    files = sorted(path.glob("*.safetensors"))
    usual = [file for file in files if file.stem == _LORA_NAME]
    if len(usual or files) != 1:
        found = ", ".join(file.name for file in files[:8]) or "none"
        raise ValueError(
            f"{path}: neither a diffusers pipeline (it has no model_index.json) nor a folder with LoRA weights in one "
            f".safetensors file ({found})"
        )
    return (usual or files)[0]


def load_tuned(
    model: str | Path,
    folder: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Any:
    """Load a model, put trained weights into it, and return the diffusers pipeline.

    Raises
    ------
    ValueError
        If the folder holds no trained weights, or those of another model.
    """
    path = Path(folder)
    facts = _facts(path)
    if facts["use_lora"]:
        require_peft(path / _LORA)
    pipe, name = load_pipeline(model, device, dtype)
    recorded = facts.get("dtype") == str(pipe.dtype) and facts.get("model_hash")  # in another dtype the hash differs
    if recorded and not has_weights_of(pipe, recorded):
        raise ValueError(
            f"{path}: these weights were trained on another model than {model}: on {facts.get('model')!r}, whose "
            f"weights have the hash {recorded}; here it is {weight_hash(pipe)}"
        )
    if facts["use_lora"]:
        load_lora(pipe, path / _LORA, name)
        _load_embedding(pipe, path)
        return pipe
    options = {dtype_keyword(): pipe.dtype, "use_safetensors": True, "local_files_only": True}
    with quiet_libraries():
        pipe.unet = type(pipe.unet).from_pretrained(path / "unet", **options).to(pipe.device)
        if (path / "text_encoder").is_dir():
            encoder = type(pipe.text_encoder).from_pretrained(path / "text_encoder", **options)
            pipe.text_encoder = encoder.to(pipe.device)
    _load_embedding(pipe, path)
    return pipe


@torch.no_grad()
def _load_embedding(pipe: Any, path: Path) -> None:
    """Write the token embeddings that a training saved into the embedding table of the text encoder."""
    if not (path / EMBEDDING).is_file():
        return
    table = pipe.text_encoder.get_input_embeddings().weight
    try:
        vectors = load_file(path / EMBEDDING)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path / EMBEDDING}: damaged: {error}") from None
    for word, vector in vectors.items():
        ids = pipe.tokenizer(word, add_special_tokens=False).input_ids
        if len(ids) != 1 or vector.shape != table.shape[1:]:
            raise ValueError(f"{path / EMBEDDING}: the embedding of {word!r} does not fit this text encoder")
        table.data[ids[0]] = vector.to(table)


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not isinstance(facts.get("use_lora"), bool):
            raise ValueError("it does not say how it was trained")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a folder of trained weights: {FACTS}: {error}") from None
    return facts
