"""A hash of all that an object computes with: every byte of its weights, and every setting of its parts.

`weight_hash` is the short label of a model; this one decides whether a picture may be shown again, so it must never be
equal for two things that compute differently. What it cannot read (hooks, replaced methods, classes of your own) raises
`NotHashable`. It reads 6 GB of weights in about a second; `known_modules` says when that has to be done again.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import re
import types
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

_TRUSTED = {"builtins", "collections", "difflens_widgets", "functools", "numpy", "operator", "pathlib", "torch"} | {
    *("accelerate", "bitsandbytes", "diffusers", "imwatermark", "peft", "PIL", "transformers", "types"),
}
"""Packages whose code the version in the key stands for; of any other code only the name would be known."""
_BOOKKEEPING = set(vars(nn.Module())) - {"training"}  # what every module has; parameters and buffers are read apart
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_ACCELERATE = {"forward", "_old_forward", "_hf_hook"}  # offloading moves weights, and changes no value
_WITHOUT_EFFECT = {"_name_or_path", "_is_hf_initialized", "name_or_path", "_use_default_values", "_diffusers_version"}
WORDS = 1 << 17  # 8-byte words that are hashed at a time: they stay in the processor's cache


class NotHashable(Exception):
    """Something was found whose effect on the result cannot be read; the message says what."""


class ContentHash:
    """Collects values; two of these with equal digests were given equal values."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._text: list[str] = []  # what is said but not hashed yet: one long update is faster than many
        self._trusted: set[type] = set()
        self._seen: dict[int, tuple[int, Any]] = {}  # the objects are held, so that no id is used twice

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        self._flush()
        return self._sha.hexdigest()

    def copy(self) -> ContentHash:
        """A copy that goes on separately."""
        self._flush()
        copied = ContentHash()
        copied._sha, copied._seen = self._sha.copy(), dict(self._seen)
        return copied

    def _flush(self) -> None:
        self._sha.update("\0".join(self._text).encode("utf-8", "surrogatepass"))
        self._text = [""]

    def _bytes(self, data: bytes) -> None:
        self._flush()
        self._sha.update(data)

    def add(self, *values: Any) -> ContentHash:
        """Take values in.

        Raises
        ------
        NotHashable
            If a value, or a part of one, cannot be read.
        """
        for value in values:
            self._add(value)
        return self

    def _add(self, value: Any) -> None:
        if type(value) in _PLAIN:
            self._say(f"{type(value).__name__}:{value!r}")
        elif isinstance(value, Tensor):
            self._add_tensor(value)
        elif isinstance(value, torch.dtype | torch.device | enum.Enum | slice | range):
            self._say(f"{type(value).__qualname__}:{value}")
        elif isinstance(value, torch.Generator):
            self._say("generator", value.get_state())
        elif isinstance(value, type):
            self._trust(value.__module__, value.__qualname__)
            self._say(f"class:{value.__module__}.{value.__qualname__}")
        elif id(value) in self._seen:  # two parts that refer to each other
            self._say(f"seen:{self._seen[id(value)][0]}")
        else:
            if not isinstance(value, tuple):  # equal tuples may be one object or not
                self._seen[id(value)] = len(self._seen), value
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
            self._add_function(value)
        elif isinstance(value, re.Pattern):
            self._say("pattern", value.pattern, value.flags)
        elif isinstance(value, functools.partial):
            self._say("partial", value.func, value.args, value.keywords)
        elif isinstance(value, nn.Module):
            self._trust(type(value).__module__, name)
            self._say(f"module:{name}")
            self._add_module(value)
        elif isinstance(value, Mapping):
            self._say(f"mapping:{len(value)}")
            for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
                if key not in _WITHOUT_EFFECT:
                    self._say(key, item)
        elif isinstance(value, Set):
            self._say(f"set:{len(value)}", *sorted(value, key=str))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            self._say(f"sequence:{len(value)}", *value)
        elif type(value).__module__ == "numpy":
            self._say(f"array:{value.dtype}{value.shape}")
            self._bytes(value.tobytes())
        else:
            self._trust(type(value).__module__, name)
            self._say(f"object:{name}")
            self._add_attributes(vars(value) if hasattr(value, "__dict__") else _slots(value))

    def _add_module(self, module: nn.Module) -> None:
        kept = vars(module)
        for hook in (hook for hooks in _HOOKS for hook in kept[hooks].values()):
            if not str(getattr(hook, "__module__", "")).startswith("transformers."):  # those only listen
                raise NotHashable(f"a hook on a {type(module).__name__}")
        self._trust_methods(type(module))
        own = {name: value for name, value in kept.items() if name not in _BOOKKEEPING}
        if "_hf_hook" in own:
            self._say(f"offloaded:{type(own['_hf_hook']).__qualname__}")
            own = {name: value for name, value in own.items() if name not in _OF_ACCELERATE}
        self._say(module._compiled_call_impl is not None)
        self._add_attributes(own)
        for kind in ("_parameters", "_buffers"):
            for name, tensor in kept[kind].items():
                self._say(name, tensor)
        for name, part in kept["_modules"].items():
            self._say(name, part)

    def _add_attributes(self, attributes: Mapping[str, Any]) -> None:
        plain: dict[str, Any] = {}
        for name, value in attributes.items():  # in the order in which the class sets them
            kind = type(value)
            if name in _WITHOUT_EFFECT or (name == "_diffusers_hook" and not value.hooks):  # made by the first forward
                continue
            if kind in _PLAIN or (kind is tuple and _PLAIN.issuperset(map(type, value))):
                plain[name] = value
            else:
                self._say(name, value)
        self._say(repr(plain))  # most of a network's settings, in one go

    def _add_function(self, function: Any) -> None:
        target = getattr(function, "__func__", function)
        self._trust(target.__module__ or "builtins", target.__qualname__)
        self._say(f"function:{target.__module__}.{target.__qualname__}")
        if isinstance(function, types.MethodType):
            self._say(function.__self__)
        for cell in getattr(target, "__closure__", None) or ():
            self._say(cell.cell_contents)

    def _add_tensor(self, tensor: Tensor) -> None:
        checked(tensor)
        self._say(f"tensor:{tensor.dtype}{tuple(tensor.shape)}")
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        whole = len(flat) // 8 * 8 if len(flat) >= _LEAST else 0
        if whole:
            aligned = flat[:whole] if flat.storage_offset() % 8 == 0 else flat[:whole].clone()
            self._bytes(_folded(aligned.view(torch.int64)))
        if whole < len(flat):
            self._bytes(flat[whole:].cpu().numpy().tobytes())

    def _say(self, *values: Any) -> None:
        for value in values:
            if type(value) is str:  # the most frequent; its length keeps neighbours apart
                self._text.append(f"{len(value)}:{value}")
            else:
                self._add(value)

    def _trust_methods(self, kind: type) -> None:
        """Refuse a class with a method that someone replaced."""
        if kind in self._trusted:
            return
        self._trusted.add(kind)
        for base in kind.__mro__[:-1]:
            for name, method in vars(base).items():
                if isinstance(method, types.FunctionType):
                    self._trust(method.__module__ or "builtins", f"{kind.__name__}.{name}")

    def _trust(self, module: str, name: str) -> None:
        if module.split(".")[0] not in _TRUSTED:
            raise NotHashable(f"code of your own: {name}")


_PLAIN = {str, int, float, bool, bytes, complex, type(None)}
_LEAST = 4096  # bytes; shorter tensors go through SHA-256 themselves


def checked(tensor: Tensor) -> None:
    """Raise `NotHashable` for a tensor whose bytes cannot be read."""
    if tensor.is_meta:
        raise NotHashable("weights that are not in memory (sequential offloading)")
    if tensor.layout is not torch.strided or tensor.is_quantized or type(tensor) not in (Tensor, nn.Parameter):
        raise NotHashable(f"a {type(tensor).__name__} of layout {tensor.layout}")


@functools.cache
def factors(device: torch.device) -> Tensor:
    """Odd random numbers, the same in every process."""
    generator = torch.Generator().manual_seed(20)
    return (torch.randint(-(2**62), 2**62, (WORDS,), generator=generator) * 2 + 1).to(device)


@torch.inference_mode()
def _folded(words: Tensor) -> bytes:
    """Eight bytes for each block of 8-byte words: a sum of products, whose upper half is mixed into the lower one.

    Without the mixing, two values that change their sign could cancel each other.
    """
    by = factors(words.device)
    sums = []
    for block in words.split(WORDS):
        product = block * by[: len(block)]
        sums.append(product.bitwise_xor_(product >> 32).sum())
    return torch.stack(sums).cpu().numpy().tobytes()


def _slots(value: Any) -> dict[str, Any]:
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    if not names:
        raise NotHashable(f"a {type(value).__qualname__}")
    return {name: getattr(value, name, None) for name in names}
