"""Loads a pipeline: the embedded model, a diffusers folder, a single file, or a Hugging Face hub id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from . import Family, require_supported
from .weight_files import describe, is_lora, shapes_in, whole_model_class

TINY = "difflens-tiny"
_SHARD = r"(?:-\d{5}-of-\d{5})?"  # before or after the variant, by the version of diffusers
_VARIANT = re.compile(rf"(?:model|diffusion_pytorch_model){_SHARD}\.([A-Za-z0-9_]+?){_SHARD}\.safetensors")
_OWN_CLASSES = {"StableDiffusionGlassPipeline": "StableDiffusionPipeline"}  # saved by save_pretrained
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
    if not isinstance(model, (str, Path)):
        raise TypeError(f"model: expected a name, a folder or a file, got {type(model).__name__}: {model!r}")
    place = device_of(device)
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype: expected a dtype such as torch.float16, got {dtype!r}")
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
            kind = _class_of_folder(source)
            family = require_supported(kind, str(model), text_encoder)
            options |= {**dtype_for(family), "local_files_only": True}
            pipe = getattr(diffusers, kind).from_pretrained(str(source), **_with_variant(source, options))
        elif _looks_like_path(model):
            raise ValueError(f"{model}: no such file or folder")
        else:
            family = require_supported(_class_on_hub(str(model), options.get("revision")), str(model), text_encoder)
            pipe = diffusers.DiffusionPipeline.from_pretrained(str(model), **options, **dtype_for(family))
    name = TINY if embedded else source.name if source.exists() else str(model)
    pipe = pipe.to(place)
    pipe._difflens_loaded_from = {
        **{"model": "tiny" if embedded else str(source.resolve()) if source.exists() else str(model)},
        **{"device": str(place), "dtype": dtype, "text_encoder": text_encoder},
        "diffusers_kwargs": dict(diffusers_kwargs or {}),
    }
    return pipe, name


def loaded_from(pipe: Any) -> dict[str, Any] | None:
    """The arguments of `load_pipeline` that made a pipeline; None if it was made in another way."""
    return getattr(pipe, "_difflens_loaded_from", None)


def _load_single_file(
    file: Path, text_encoder: str | None, options: dict[str, Any], dtype_for: Callable[[Family], dict[str, Any]]
) -> Any:
    """Load a checkpoint in a single file, as training tools other than diffusers write it."""
    if file.suffix != ".safetensors":
        raise ValueError(f"{file}: only .safetensors files are read, as others may run code when they are opened")
    shapes = shapes_in(file)
    found = whole_model_class(list(shapes))
    if found is None and is_lora(list(shapes)):
        raise ValueError(
            f"{file}: holds LoRA weights, not a whole model; load the model that they belong to and give it to "
            "DiffusionLens(pipe) after pipe.load_lora_weights(...), or compare both: difflens compare MODEL LORA PROMPT"
        )
    if found is None:
        raise ValueError(f"{file}: not a checkpoint of a known family's whole model: {describe(shapes)}")
    options |= dtype_for(require_supported(found, str(file), text_encoder))
    options.pop("use_safetensors")
    try:
        return getattr(diffusers, found).from_single_file(str(file), **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise OSError(
            f"{file}: a {found} in one file, but diffusers cannot load it: {reason}. Without a network, give a "
            "diffusers folder of the same kind of model as config="
        ) from error


def device_of(device: Any) -> torch.device:
    """The device of this name, which must be there; None: the best one.

    Raises
    ------
    ValueError, TypeError
        With the devices that there are.
    """
    if device is None:
        return _best_device()
    there = ["cpu"]
    if torch.cuda.is_available():
        there = [*(f"cuda:{number}" for number in range(torch.cuda.device_count())), "cpu"]
    if torch.backends.mps.is_available():
        there = ["mps", "cpu"]
    if isinstance(device, bool) or not isinstance(device, (str, int, torch.device)):
        raise TypeError(f"device: expected a name such as 'cuda', got {device!r}; here are: {', '.join(there)}")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        build = (
            "" if torch.cuda.is_available() or "cuda" not in str(device) else f" by this torch ({torch.__version__})"
        )
        raise ValueError(f"device: {str(device)!r} cannot be used{build}; here are: {', '.join(there)}") from error
    return found


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _looks_like_path(model: str | Path) -> bool:
    name = str(model)
    is_file = Path(name).suffix in (".safetensors", ".ckpt", ".bin", ".pt", ".pth", ".json")
    return isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") != 1 or is_file


def _class_of_folder(folder: Path) -> str:
    index = folder / "model_index.json"
    if not index.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder}: not a diffusers pipeline folder: it has no model_index.json (it holds: {found})")
    try:
        kind = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
        return _OWN_CLASSES.get(kind, kind)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: model_index.json names no pipeline class: {error!r}") from None


def _with_variant(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the variant that a folder has if it has no other weights.

    Raises
    ------
    ValueError
        If there are several variants and none is chosen, or not the chosen one.
    """
    names = [path.name for path in folder.glob("*/*.safetensors")]
    stems = ("model", "diffusion_pytorch_model")
    found = sorted({m[1] for name in names if (m := _VARIANT.fullmatch(name))})
    plain = any(name.split(".")[0].split("-000")[0] in stems and not _VARIANT.fullmatch(name) for name in names)
    chosen = options.get("variant")
    if chosen is not None and chosen not in found:
        raise ValueError(f"variant: {folder} has no weights of {chosen!r}, only {', '.join(found) or 'plain ones'}")
    if chosen is not None or plain or not found:
        return options
    if len(found) > 1:
        raise ValueError(f"variant: {folder} has the variants {', '.join(found)}; choose one, such as {found[0]!r}")
    return {**options, "variant": found[0]}


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
def quiet_libraries(*, progress_bars: bool = True, diffusers_too: bool = True) -> Iterator[None]:
    """Hide transformers' notes about image processors, which are not used here; then restore the settings."""
    with ExitStack() as settings:
        for library in (transformers.utils.logging, diffusers.utils.logging)[: 1 + diffusers_too]:
            settings.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
            if not progress_bars and _shows_progress_bars(library):
                library.disable_progress_bar()
                settings.callback(library.enable_progress_bar)
        yield


def _shows_progress_bars(library: Any) -> bool:
    is_enabled: Callable[[], bool] | None = getattr(library, "is_progress_bar_enabled", None)
    return is_enabled() if is_enabled else bool(library._tqdm_active)
