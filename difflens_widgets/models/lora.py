"""Loads a LoRA file: every tensor of it is in the model afterwards, or is named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..runs.caller import warn_caller
from .loading import quiet_libraries
from .weight_files import LORA_PART, describe, formats, is_lora, shapes_in

_FOLLOWS = re.compile(r"[._](alpha|dora_scale)$")
_SHOWN = 6  # names in a message


def load_lora(pipe: Any, file: Path, name: str) -> list[str]:
    """Load LoRA weights into a pipeline that no one else uses yet; warnings of diffusers stay visible.

    Parameters
    ----------
    pipe : the pipeline
    file : Path
    name : str
        The model's name, for messages.

    Returns
    -------
    list of str
        The names of the tensors in the file that did not find a place in the model; they are also warned about.

    Raises
    ------
    ValueError
        If none did, if the file holds another kind of weights, magnitudes of a DoRA that diffusers would leave out, or
        is damaged.
    """
    if not hasattr(pipe, "load_lora_weights"):
        raise ValueError(f"{file}: {type(pipe).__name__} of {name} takes no LoRA")
    shapes = shapes_in(file)
    if not is_lora(list(shapes)):
        raise ValueError(f"{file}: holds no LoRA weights: {describe(shapes)}")
    if any(key.endswith("dora_scale") for key in shapes):
        raise ValueError(
            f"{file}: is a DoRA in the format of kohya's scripts: diffusers leaves its magnitudes (dora_scale) out, "
            "and that would be another model. Convert it to peft's format, where they are called lora_magnitude_vector"
        )
    try:
        with quiet_libraries(diffusers_too=False), _traced(pipe, load_file(file)) as converted:
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, use_safetensors=True, local_files_only=True)
        adapters = pipe.get_list_adapters()
    except (ValueError, RuntimeError, KeyError, OSError, AttributeError, IndexError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"the file lacks {reason}, which diffusers expects beside its other half"
        raise ValueError(f"{file}: cannot be loaded as a LoRA of {name}: {reason}") from error
    missing = _missing(pipe, list(shapes), converted)
    if not any(adapters.values()) or len(missing) == len(shapes):
        raise ValueError(f"{file}: holds no LoRA weights of {name}'s text encoder or denoiser: {_few(missing)}")
    if missing:
        others = "".join(f" ({what})" for what, _ in formats(missing))
        warn_caller(
            f"{file}: {len(missing)} of its {len(shapes)} tensors have no place in {name} and are left out: "
            f"{_few(missing)}{others}"
        )
    return missing


class _Traced(Tensor):
    """A tensor that knows from which tensors of the file it was made."""

    sources: frozenset[str] = frozenset()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = frozenset().union(*(each.sources for each in _traced_in((args, kwargs or {}))))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        return _with_sources(result, sources)


def _traced_in(value: Any) -> Iterator[_Traced]:
    if isinstance(value, _Traced):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _traced_in(item)
    elif isinstance(value, dict):
        yield from _traced_in(list(value.values()))


def _with_sources(value: Any, sources: frozenset[str]) -> Any:
    if isinstance(value, Tensor):
        made = value.as_subclass(_Traced)
        made.sources = sources
        return made
    if isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) for item in value):
        return type(value)(_with_sources(item, sources) for item in value)
    return value


@contextmanager
def _traced(pipe: Any, tensors: Mapping[str, Tensor]) -> Iterator[dict[str, tuple[Tensor, frozenset[str]]]]:
    """Collect how the pipeline converts the names of a file: new name → its tensor, and the names it was made from."""
    stock, converted = pipe.lora_state_dict, {}

    def convert(_: Any, **options: Any) -> Any:
        result = stock(_, **options)
        marked = {key: _with_sources(tensor.clone(), frozenset({key})) for key, tensor in tensors.items()}
        with quiet_libraries():  # it has said it all
            traced = stock(marked, **{**options, "weight_name": None})
        for key, tensor in (traced[0] if isinstance(traced, tuple) else traced).items():
            if isinstance(tensor, _Traced):
                converted[key] = tensor.as_subclass(Tensor), tensor.sources
        return result

    vars(pipe)["lora_state_dict"] = convert
    try:
        yield converted
    finally:
        del vars(pipe)["lora_state_dict"]


def _missing(pipe: Any, keys: list[str], converted: Mapping[str, tuple[Tensor, frozenset[str]]]) -> list[str]:
    """The tensors of the file that are in no adapter of the model."""
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    weights = [weight for part in modules for name, weight in part.named_parameters() if "lora_" in name]
    dtypes, contents = {weight.dtype for weight in weights}, {_content(weight) for weight in weights}
    loaded: set[str] = set()
    zeros: set[str] = set()
    for tensor, sources in converted.values():
        if not tensor.any():
            zeros |= sources  # their content tells nothing: they go with the other tensors of their layer
        elif any(_content(tensor.to(dtype)) in contents for dtype in dtypes):
            loaded |= sources
    layers = {_layer_of(key) for key in loaded}
    with_layer = {key for key in keys if key in zeros or _FOLLOWS.search(key)}
    return [key for key in keys if key not in loaded and not (key in with_layer and _layer_of(key) in layers)]


def _layer_of(key: str) -> str:
    found = LORA_PART.search(key) or _FOLLOWS.search(key)
    return key[: found.start()] if found else key


def _content(tensor: Tensor) -> tuple[tuple[int, ...], bytes]:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tuple(tensor.shape), hashlib.sha256(data.tobytes()).digest()


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
