"""Loads a pipeline by name: the embedded model, a diffusers folder, or a Hugging Face hub id."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError

from .conditioning import require_supported
from .tiny import WEIGHTS

TINY = "difflens-tiny"
TRAINED = "difflens.json"  # beside the weights that a DreamBooth training keeps
_LORA_NAME = "pytorch_lora_weights"  # as diffusers saves them


def load_pipeline(
    model: str | Path, device: str | torch.device | None, dtype: torch.dtype | None, encoder: int = 1
) -> tuple[Any, str]:
    """Load `model` and return the pipeline and the name to label its runs with; see `DiffusionLens.from_pretrained`."""
    place = torch.device(device) if device is not None else _best_device()
    if dtype is None:
        dtype = torch.float16 if place.type == "cuda" else torch.float32
    source, name = (WEIGHTS, TINY) if str(model) in ("tiny", TINY) else (model, Path(model).name)
    if Path(source).is_dir():
        require_supported(_class_of_folder(Path(source)), str(model), encoder)
    elif _looks_like_path(model):
        raise ValueError(f"{model}: no such folder")
    else:
        name = str(model)
        require_supported(_class_on_hub(name), name, encoder)
    embedded = source is WEIGHTS
    options = {_dtype_keyword(): dtype, "use_safetensors": True, "local_files_only": Path(source).is_dir()}
    with _quiet(progress_bars=not embedded):
        pipe = diffusers.DiffusionPipeline.from_pretrained(str(source), **options)
    return pipe.to(place), name


def load_tuned_pipeline(
    raw: str | Path,
    tuned: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    encoder: int = 1,
) -> tuple[Any, str]:
    """Load a tuned model, a pipeline of its own: a folder or hub id as `load_pipeline` takes, or a LoRA for `raw`.

    Parameters
    ----------
    raw : str or Path
        The model that a LoRA belongs to; it is loaded anew.
    tuned : str or Path
        A diffusers folder, a hub id, a ``.safetensors`` file with LoRA weights, a folder with one, or a folder of
        weights that `train_dreambooth` kept.

    Raises
    ------
    ValueError
        If a folder is neither, or the weights do not belong to the model.
    OSError
        If a hub id cannot be loaded.
    """
    if (Path(tuned) / TRAINED).is_file():
        from .dreambooth.weights import load_tuned

        return load_tuned(raw, tuned, device, dtype), f"{TINY if str(raw) == 'tiny' else Path(raw).name}, tuned"
    file = _lora_file(Path(tuned))
    if file is None:
        return load_pipeline(tuned, device, dtype, encoder)
    require_peft(file)
    pipe, name = load_pipeline(raw, device, dtype, encoder)
    load_lora(pipe, file, name)
    return pipe, f"{name} + {file.parent.name if file.stem == _LORA_NAME else file.stem}"


def require_peft(file: Path) -> None:
    """Refuse LoRA weights where nothing can load them, before a model is."""
    if importlib.util.find_spec("peft") is None:
        raise ValueError(f'{file}: a LoRA needs peft: pip install "difflens_widgets[train]"')


def load_lora(pipe: Any, file: Path, name: str) -> None:
    """Load LoRA weights into a pipeline.

    Raises
    ------
    ValueError
        If they do not belong to it, or the file is damaged.
    """
    try:
        with _quiet():
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, use_safetensors=True, local_files_only=True)
        loaded = pipe.get_list_adapters()
    except (ValueError, RuntimeError, KeyError, OSError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{file}: cannot be loaded as a LoRA of {name}: {reason}") from error
    if not any(loaded.values()):
        raise ValueError(f"{file}: holds no LoRA weights of {name}'s text encoder or denoiser")


def _lora_file(path: Path) -> Path | None:
    """The file with the LoRA weights that a path means; None where it means a whole model."""
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
        with _quiet():
            return str(diffusers.DiffusionPipeline.load_config(name)["_class_name"])
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OSError(
            f"{name}: neither a folder here nor loadable from the Hugging Face hub ({reason}). "
            'Check the id and the network; without one, "tiny" is the embedded model'
        ) from error


def _dtype_keyword() -> str:
    """Newer diffusers say `dtype` and warn of `torch_dtype`; older ones know only that."""
    from diffusers.utils import deprecation_utils

    return "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"


@contextmanager
def _quiet(*, progress_bars: bool = True) -> Iterator[None]:
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
