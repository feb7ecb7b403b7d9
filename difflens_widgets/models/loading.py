"""Loads a pipeline: the embedded model, a diffusers folder, a single file, or a Hugging Face hub id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError, safe_open

from . import Family, require_supported

TINY = "difflens-tiny"
_SINGLE_FILES = {  # part of a tensor's name that only this kind of checkpoint has; the first match counts
    "conditioner.embedders.1.model.": "StableDiffusionXLPipeline",
    "cond_stage_model.": "StableDiffusionPipeline",
}
WEIGHTS = Path(__file__).parents[1] / "tiny" / "weights"
"""The embedded model as a diffusers folder."""


def load_pipeline(
    model: str | Path,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    text_encoder: str | None = None,
    diffusers_kwargs: Mapping[str, Any] | None = None,
) -> tuple[Any, str]:
    """Load `model`; return the pipeline and the name that labels its runs. See `DiffusionLens.from_pretrained`."""
    place = torch.device(device) if device is not None else _best_device()
    embedded = str(model) in ("tiny", TINY)
    source = WEIGHTS if embedded else Path(model).expanduser()
    options = {name: value for name, value in (diffusers_kwargs or {}).items() if value is not None}
    options["use_safetensors"] = True

    def dtype_for(family: Family) -> dict[str, Any]:
        trained = getattr(torch, family.dtype) if place.type == "cuda" else torch.float32
        return {dtype_keyword(): dtype or trained}

    with quiet_libraries(progress_bars=not embedded):
        if source.is_file():
            pipe = _load_single_file(source, text_encoder, options, dtype_for)
        elif source.is_dir():
            family = require_supported(_class_of_folder(source), str(model), text_encoder)
            options |= {**dtype_for(family), "local_files_only": True}
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(source), **options)
        elif _looks_like_path(model):
            raise ValueError(f"{model}: no such file or folder")
        else:
            family = require_supported(_class_on_hub(str(model), options.get("revision")), str(model), text_encoder)
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(model), **options, **dtype_for(family))
    name = TINY if embedded else source.name if source.exists() else str(model)
    return pipe.to(place), name


def _load_single_file(
    file: Path, text_encoder: str | None, options: dict[str, Any], dtype_for: Callable[[Family], dict[str, Any]]
) -> Any:
    """Load a checkpoint in a single file, as training tools other than diffusers write it."""
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: only .safetensors files are read, as others may run code when they are opened")
    try:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not a sound .safetensors file: {error}") from error
    found = next((kind for part, kind in _SINGLE_FILES.items() if any(part in name for name in names)), None)
    if found is None:
        raise ValueError(f"{file}: not a checkpoint of a known family's whole model; its first tensor is {names[:1]}")
    options |= dtype_for(require_supported(found, str(file), text_encoder))
    options.pop("use_safetensors")
    return getattr(diffusers, found).from_single_file(str(file), **options)


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _looks_like_path(model: str | Path) -> bool:
    return isinstance(model, Path) or str(model).startswith((".", "/", "~")) or str(model).count("/") != 1


def _class_of_folder(folder: Path) -> str:
    index = folder / "model_index.json"
    if not index.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder}: not a diffusers pipeline folder: it has no model_index.json (it holds: {found})")
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: model_index.json names no pipeline class: {error!r}") from None


def _class_on_hub(name: str, revision: str | None) -> str:
    try:
        with quiet_libraries():
            return str(diffusers.DiffusionPipeline.load_config(name, revision=revision)["_class_name"])
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OSError(
            f"{name}: neither a folder here nor loadable from the Hugging Face hub ({reason}). "
            'Check the id and the network; without one, "tiny" is the embedded model'
        ) from error


def dtype_keyword() -> str:
    """The dtype argument's name: newer diffusers take `dtype`, and older ones only `torch_dtype`."""
    from diffusers.utils import deprecation_utils

    return "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"


@contextmanager
def quiet_libraries(*, progress_bars: bool = True) -> Iterator[None]:
    """Hide transformers' notes about image processors, which are not used here; then restore the settings."""
    with ExitStack() as settings:
        for library in (transformers.utils.logging, diffusers.utils.logging):
            settings.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
            if not progress_bars and _shows_progress_bars(library):
                library.disable_progress_bar()
                settings.callback(library.enable_progress_bar)
        yield


def _shows_progress_bars(library: Any) -> bool:
    is_enabled: Callable[[], bool] | None = getattr(library, "is_progress_bar_enabled", None)
    return is_enabled() if is_enabled else bool(library._tqdm_active)
