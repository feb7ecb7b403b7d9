"""What is known of a network is used again until the network may have changed: a check that reads little of large ones.

The check reads all that `ContentHash` reads but the bytes of the weights. Of each tensor it takes the object, its place
in memory, its version (which torch counts up with every write that it sees: `copy_`, `load_state_dict`, an optimizer),
and a sum of products over all of its bytes, or, above 1 MB, over every 127th 8-byte word. So it also sees what torch
does not count, a write through `.data` or a numpy view, unless that changes less than a kilobyte in a row of a tensor
of more than 1 MB. It takes about 10 ms for 1 GB on one core, and some for the parts of the network.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .content_hash import WORDS, ContentHash, NotHashable, checked, factors

_IN_FULL = 2**20  # bytes of a tensor that are all read
_STRIDE = 127  # 8-byte words: less than any row of an embedding or kernel of this size, and a prime


class Known:
    """A network that was not changed since it was first seen, as far as `check` tells; hashable by identity."""

    def __init__(self, module: nn.Module, look: _Look) -> None:
        self._module = weakref.ref(module)
        self._seen = look.hexdigest()
        self._tensors = [weakref.ref(tensor) for tensor in look.tensors]  # so that no other one takes the place of one

    @property
    def module(self) -> nn.Module:
        """The network, which the caller holds."""
        module = self._module()
        assert module is not None
        return module

    @cached_property
    def digest(self) -> str:
        """The full `ContentHash` of the network: read once.

        Raises
        ------
        NotHashable
            If the network is changed meanwhile.
        """
        found = ContentHash().add(self.module).hexdigest()
        if not self.is_as(_Look(self.module)):
            raise NotHashable("a network that is being changed")
        return found

    def is_as(self, look: _Look) -> bool:
        """Whether a look at the same network finds it as it was."""
        same = len(self._tensors) == len(look.tensors)
        same = same and all(was() is now for was, now in zip(self._tensors, look.tensors, strict=True))
        return same and self._seen == look.hexdigest()


_KNOWN: weakref.WeakKeyDictionary[nn.Module, Known] = weakref.WeakKeyDictionary()
_GUARD = threading.Lock()
_LOOKED: ContextVar[dict[nn.Module, Known] | None] = ContextVar("_LOOKED", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Within, in this thread, each network is looked at once: what is said of it is of one moment."""
    token = _LOOKED.set({})
    try:
        yield
    finally:
        _LOOKED.reset(token)


def check(module: nn.Module) -> Known:
    """What is known of a network; the same object as before unless the network may have changed.

    Raises
    ------
    NotHashable
        If it holds what cannot be read, as `ContentHash` says.
    """
    looked = _LOOKED.get()
    if looked is not None and module in looked:
        return looked[module]
    look = _Look(module)
    with _GUARD:
        known = _KNOWN.get(module)
        if known is None or not known.is_as(look):
            known = _KNOWN[module] = Known(module, look)
    if looked is not None:
        looked[module] = known
    return known


class _Look(ContentHash):
    """A `ContentHash` that reads of a tensor what the text above says."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        self.add(module)
        self.add(_sums(self.tensors))

    def _add_tensor(self, tensor: Tensor) -> None:
        checked(tensor)
        version: Any = None if tensor.is_inference() else tensor._version
        self._text.append(f"{tensor.dtype}{tuple(tensor.shape)}{tensor.stride()}{tensor.data_ptr()}:{version}")
        self.tensors.append(tensor)


@torch.inference_mode()
def _sums(tensors: list[Tensor]) -> list[Any]:
    """The sums of all tensors; those of one device are read back together."""
    found: dict[torch.device, list[Tensor]] = {}
    rests: list[Any] = []
    for tensor in tensors:
        data = tensor.detach()
        data = data if data.is_contiguous() else data.contiguous()
        if data.device.type not in ("cpu", "cuda"):
            data = data.cpu()
        size = data.numel() * data.element_size()
        if size % 8 or data.storage_offset() * data.element_size() % 8:
            data = data.reshape(-1).view(torch.uint8)
            rests.append(data[size // 8 * 8 :].tolist())
            data = data[: size // 8 * 8].clone()
        words = data.view(-1).view(torch.int64)
        if size > _IN_FULL:
            words = words[::_STRIDE]
        found.setdefault(words.device, []).extend(map(_sum, words.split(WORDS) if len(words) > WORDS else [words]))
    return [*rests, *(torch.stack(sums).tolist() for sums in found.values())]


def _sum(words: Tensor) -> Tensor:
    by = factors(words.device)[: len(words)]
    return torch.dot(words, by) if words.device.type == "cpu" else (words * by).sum()
