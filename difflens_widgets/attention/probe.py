"""Hears the queries and keys of chosen attention modules while they work, and changes nothing.

A pre-hook on the module enters a `TorchFunctionMode`, which sees torch's `scaled_dot_product_attention` and calls it
unchanged; a post-hook leaves it. So a module's processor stays the user's own, whatever it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_NUMBERS = 2**24  # how many probabilities are held at once: 64 MB
_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")  # those that may be given by place


@dataclass(frozen=True)
class Call:
    """One call of `scaled_dot_product_attention`: query (row, head, query, width), key (row, head, key, width)."""

    query: Tensor
    key: Tensor
    attn_mask: Tensor | None = None
    is_causal: bool = False
    scale: float | None = None

    def probabilities(self, row: int) -> Tensor:
        """The attention probabilities of one row in float32, (head, query, key); they sum to 1 over the keys."""
        return torch.cat([*self.pieces(row)], dim=1)

    def pieces(self, row: int, queries: slice = slice(None), numbers: int = _NUMBERS) -> Iterator[Tensor]:
        """The `probabilities` of some queries, one after another in pieces of not many more than `numbers` numbers."""
        chosen = range(self.query.shape[-2])[queries]
        key = self.key[row].float()
        several = max(1, numbers // (key.shape[0] * key.shape[1]))
        for start in range(0, len(chosen), several):
            yield self._softmax(row, chosen[start : start + several], key)

    @torch.no_grad()
    def _softmax(self, row: int, queries: range, key: Tensor) -> Tensor:
        some = slice(queries.start, queries.stop)
        query = self.query[row, :, some]
        with torch.autocast(query.device.type, enabled=False):  # it would do this in half precision
            scale = 1 / math.sqrt(query.shape[-1]) if self.scale is None else self.scale
            scores = query.float() @ key.transpose(-1, -2) * scale
            if self.is_causal:
                hidden = torch.ones_like(scores, dtype=torch.bool).triu(queries.start + 1)
                scores = scores.masked_fill(hidden, -math.inf)
            if self.attn_mask is not None:
                full = (*self.query.shape[:-1], key.shape[-2])
                mask = self.attn_mask.expand(full)[row, :, some]
                scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.float()
            return scores.softmax(-1)


class _Ear(TorchFunctionMode):
    """Tells `heard` of every `scaled_dot_product_attention` inside."""

    def __init__(self, heard: Callable[[Call], None]) -> None:
        super().__init__()
        self._heard = heard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.scaled_dot_product_attention:
            given = {**dict(zip(_PARAMETERS, args, strict=False)), **(kwargs or {})}
            names = ("query", "key", "attn_mask", "is_causal", "scale")
            self._heard(Call(**{name: given[name] for name in names if name in given}))
        return output


@contextmanager
def heard(
    modules: Mapping[str, nn.Module], listen: Callable[[str, Call], None], end: Callable[[str], None]
) -> Iterator[None]:
    """Call `listen(name, call)` for every call inside one of `modules`, and `end(name)` when its forward is over.

    What they raise leaves the forward as an error. One thread; a module does not contain another.
    """
    ears: list[_Ear] = []

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            ears.append(_Ear(lambda call: listen(name, call)))
            ears[-1].__enter__()

        return hook

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if ears:
                ears.pop().__exit__(None, None, None)
            if output is not None:  # None: an error is on its way
                end(name)

        return hook

    hooks = []
    for name, module in modules.items():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave(name), always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        while ears:  # torch calls no hook after Ctrl-C
            ears.pop().__exit__(None, None, None)
