"""Loads a pipeline by name: the embedded model, a diffusers folder, or a Hugging Face hub id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from . import require_supported

TINY = "difflens-tiny"
WEIGHTS = Path(__file__).parents[1] / "tiny" / "weights"
"""The embedded model as a diffusers folder."""


def load_pipeline(
    model: str | Path, device: str | torch.device | None, dtype: torch.dtype | None, text_encoder: str | None = None
) -> tuple[Any, str]:
    """Load `model` and return the pipeline and the name to label its runs with; see `DiffusionLens.from_pretrained`."""
    place = torch.device(device) if device is not None else _best_device()
    if dtype is None:
        dtype = torch.float16 if place.type == "cuda" else torch.float32
    source, name = (WEIGHTS, TINY) if str(model) in ("tiny", TINY) else (model, Path(model).name)
    if Path(source).is_dir():
        require_supported(_class_of_folder(Path(source)), str(model), text_encoder)
    elif _looks_like_path(model):
        raise ValueError(f"{model}: no such folder")
    else:
        name = str(model)
        require_supported(_class_on_hub(name), name, text_encoder)
    embedded = source is WEIGHTS
    options = {dtype_keyword(): dtype, "use_safetensors": True, "local_files_only": Path(source).is_dir()}
    with quiet_libraries(progress_bars=not embedded):
        pipe = diffusers.DiffusionPipeline.from_pretrained(str(source), **options)
    return pipe.to(place), name


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


def _class_on_hub(name: str) -> str:
    try:
        with quiet_libraries():
            return str(diffusers.DiffusionPipeline.load_config(name)["_class_name"])
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OSError(
            f"{name}: neither a folder here nor loadable from the Hugging Face hub ({reason}). "
            'Check the id and the network; without one, "tiny" is the embedded model'
        ) from error


def dtype_keyword() -> str:
    """Newer diffusers say `dtype` and warn of `torch_dtype`; older ones know only that."""
    from diffusers.utils import deprecation_utils

    return "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"


@contextmanager
def quiet_libraries(*, progress_bars: bool = True) -> Iterator[None]:
    """Keep transformers' notes on image processors that no pipeline here uses off the page; settings come back."""
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
