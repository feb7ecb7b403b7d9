"""A short hash of the weights that a pipeline works with: the label of its runs.

It covers every byte of the weights, the adapters in force with their strengths, and FreeU. It is the same with and
without `torch.compile` and offloading, and before and after transformers 5 renamed the text encoder's weights. On one
core of a laptop it takes about 0.2 s for 1 GB the first time, and after a change.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .content_hash import NotHashable
from .known_modules import Known, check

UNHASHED = "unhashed, because "
_COLUMNS = 509  # a prime: rows that change places are not summed up in the same columns
_WORD = 8  # bytes that are summed as one integer
_FREEU = ("s1", "s2", "b1", "b2")
_SAMPLES = 32
_OLD_PREFIX = "text_model."  # of a text encoder's weights before transformers 5


def weight_hash(pipe: Any) -> str:
    """16 hexadecimal digits that change when any weight in force changes; never raises.

    Returns
    -------
    str
        Where a module cannot be read, such as one of a foreign quantization: "unhashed, because ..." and the reason.
    """
    try:
        modules = [(name, part) for name, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)]
        try:
            return _known_hash(tuple((name, check(module)) for name, module in modules))
        except NotHashable:
            return _hash(modules)
    except Exception as error:  # noqa: BLE001 (a label never fails a run)
        return f"{UNHASHED}{' '.join(str(error).split())[:200] or type(error).__name__}"


@functools.lru_cache(maxsize=64)
def _known_hash(parts: tuple[tuple[str, Known], ...]) -> str:
    """The hash of networks that are as they were the last time."""
    return _hash([(name, known.module) for name, known in parts])


@torch.inference_mode()
def _hash(modules: Sequence[tuple[str, nn.Module]]) -> str:
    digest = hashlib.sha256()
    for name, module in modules:
        try:
            for part in _parts(name, module):
                digest.update(part)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{name} cannot be read: {reason}") from error
    return digest.hexdigest()[:16]


def has_weights_of(pipe: Any, recorded: str) -> bool:
    """Whether a pipeline has the weights of a recorded hash, also of one from version 0.1; True if that is unknown."""
    found = weight_hash(pipe)
    unknown = any(each.startswith(UNHASHED) for each in (found, recorded))
    return unknown or recorded in (found, sampled_weight_hash(pipe))


@torch.inference_mode()
def sampled_weight_hash(pipe: Any) -> str:
    """The hash of version 0.1, of at most 32 values of each tensor."""
    digest = hashlib.sha256()
    for name, module in sorted(pipe.components.items()):
        if not isinstance(module, nn.Module):
            continue
        samples = []
        for key, tensor in module.state_dict().items():
            if not isinstance(tensor, Tensor):
                continue
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            if tensor.is_meta or tensor.numel() == 0:
                continue
            flat = tensor.reshape(-1)
            samples.append(flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].float())
        if samples:
            digest.update(torch.cat([sample.to(samples[0].device) for sample in samples]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _parts(name: str, module: nn.Module) -> Iterator[bytes]:
    """What the hash covers of one module: names, shapes, then the sums of all weights, and its switches."""
    tuned, offloaded = _tuned_layers(module), _offloaded(module)
    sums: list[Tensor] = []
    for key, value in module.state_dict().items():
        place = _place(_without_wrappers(key), tuned)
        if place is not None:
            place = place.removeprefix(_OLD_PREFIX)
        if place is None:
            continue
        yield f"{name}.{place}".encode()
        for item in _values(offloaded.get(key, value)):
            if isinstance(item, Tensor):
                yield f"{tuple(item.shape)}{item.dtype}".encode()
                sums += _sums(item)
            else:
                yield repr(item).encode()
    if sums:
        yield torch.cat([each.to(sums[0].device) for each in sums]).cpu().numpy().tobytes()
    for path, part in module.named_modules():
        switches = {key: vars(part)[key] for key in _FREEU if vars(part).get(key) is not None}
        if "IPAdapter" in type(part).__name__:
            switches["scale"] = vars(part).get("scale")
        if switches:
            yield f"{_without_wrappers(path)}{switches}".encode()


def _without_wrappers(path: str) -> str:
    """A path inside a module, without the names that `torch.compile` puts in."""
    return ".".join(name for name in path.split(".") if name != "_orig_mod")


def _tuned_layers(module: nn.Module) -> dict[str, dict[str, str]]:
    """The layers with adapters of peft: path → adapter in force → its number and strength."""
    found = {}
    for path, part in module.named_modules():
        if hasattr(part, "base_layer") and hasattr(part, "active_adapters"):
            idle = part.disable_adapters or part.merged  # merged: the weights hold it already
            scaling: Any = getattr(part, "scaling", {})
            active = [] if idle else sorted(part.active_adapters)
            found[_without_wrappers(path)] = {
                adapter: f"{number}×{scaling.get(adapter, 1)}" for number, adapter in enumerate(active)
            }
    return found


def _place(key: str, tuned: dict[str, dict[str, str]]) -> str | None:
    """The key of a weight as it would be without peft's wrapper, with its strength; None if it is not in force."""
    names = key.split(".")
    for end in range(len(names), 0, -1):
        layer = tuned.get(".".join(names[:end]))
        if layer is None or len(names) < end + 2:
            continue
        kind, adapter = names[end : end + 2]
        if kind == "base_layer":
            return ".".join([*names[:end], *names[end + 1 :]])
        return ".".join([*names[:end], kind, layer[adapter], *names[end + 2 :]]) if adapter in layer else None
    return key


def _offloaded(module: nn.Module) -> dict[str, Tensor]:
    """The weights that accelerate keeps elsewhere, by their key in the state dict."""
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        hook: Any = getattr(part, "_hf_hook", None)
        for each in getattr(hook, "hooks", [hook]):
            weights = getattr(each, "weights_map", None)
            if weights is None:
                continue
            inside = getattr(each, "place_submodules", False)
            named = [*part.named_parameters(recurse=inside), *part.named_buffers(recurse=inside)]
            for name, tensor in named:
                if tensor.is_meta:
                    found[f"{path}.{name}" if path else name] = torch.as_tensor(weights[name])
    return found


def _values(value: Any) -> Iterator[Any]:
    """The tensors and plain values of an entry of a state dict; quantized layers have tuples there."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _values(item)
    elif isinstance(value, Tensor) and value.is_quantized:
        yield value.int_repr()
        if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            yield value.q_scale(), value.q_zero_point()
        else:
            yield from (value.q_per_channel_scales(), value.q_per_channel_zero_points())
    elif isinstance(value, (Tensor, str, bytes, bool, int, float, torch.dtype, type(None))):
        yield value
    else:
        raise TypeError(f"it holds a {type(value).__name__}")


def _sums(tensor: Tensor) -> list[Tensor]:
    """The bytes of a tensor, reduced where it is large: any single change shows; made where the tensor is."""
    if tensor.is_meta:
        raise ValueError("its weights are offloaded to where they cannot be read")
    if tensor.device.type not in ("cpu", "cuda"):
        tensor = tensor.cpu()
    data = tensor.contiguous().reshape(-1).view(torch.uint8)
    if data.data_ptr() % _WORD or data.storage_offset() % _WORD:
        data = data.clone()
    whole = data.numel() // (_COLUMNS * _WORD) * _COLUMNS * _WORD
    rest = data[whole:]
    if not whole:
        return [rest]
    return [data[:whole].view(torch.int64).view(-1, _COLUMNS).sum(0).view(torch.uint8), rest]
