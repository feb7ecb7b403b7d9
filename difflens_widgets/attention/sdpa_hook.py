"""Reads the queries and keys of attention modules while they run, and changes nothing.

A forward pre-hook on the module pushes a `TorchFunctionMode`. The mode sees each call of torch's
`scaled_dot_product_attention` (SDPA), runs it unchanged and reports its arguments. A forward hook takes the mode away
again. So the module keeps its attention processor, also one that the user wrote.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)

_MAX_VALUES = 2**24  # probabilities held at once: 64 MB
_POSITIONAL = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")  # SDPA's positional parameters
_RECORDED = ("query", "key", "attn_mask", "is_causal", "scale")


@dataclass(frozen=True)
class SdpaCall:
    """The arguments of one call of `scaled_dot_product_attention`.

    Attributes
    ----------
    query : Tensor (row, head, query, width)
    key : Tensor (row, head, key, width)
    attn_mask : Tensor or None
        As torch takes it: bool, or floats that are added to the scores.
    is_causal : bool
    scale : float or None
        None: 1 / √width.
    """

    query: Tensor
    key: Tensor
    attn_mask: Tensor | None = None
    is_causal: bool = False
    scale: float | None = None

    def probabilities(self, row: int) -> Tensor:
        """Compute the attention probabilities of one row of the batch.

        Returns
        -------
        float32 Tensor (head, query, key)
            Each query's probabilities sum to 1 over the keys.
        """
        return torch.cat([*self.chunks(row)], dim=1)

    def chunks(self, row: int, queries: slice = slice(None), max_values: int = _MAX_VALUES) -> Iterator[Tensor]:
        """Yield the `probabilities` of some queries, a few queries at a time, to bound the memory.

        Parameters
        ----------
        row : int
            Index in the batch.
        queries : slice
            Which queries. Default: all.
        max_values : int
            About how many probabilities one chunk holds; a chunk has at least one query.

        Yields
        ------
        float32 Tensor (head, some queries, key)
        """
        chosen = range(self.query.shape[-2])[queries]
        key = self.key[row].float()
        size = max(1, max_values // (key.shape[0] * key.shape[1]))
        for start in range(0, len(chosen), size):
            yield self._softmax(row, chosen[start : start + size], key)

    @torch.no_grad()
    def _softmax(self, row: int, queries: range, key: Tensor) -> Tensor:
        some = slice(queries.start, queries.stop)
        query = self.query[row, :, some]
        with torch.autocast(query.device.type, enabled=False):  # autocast would compute this in half precision
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


class _SdpaHook(TorchFunctionMode):
    """Calls every torch function unchanged, and then passes the arguments of each SDPA call to `on_call`."""

    def __init__(self, on_call: Callable[[SdpaCall], None]) -> None:
        super().__init__()
        self._on_call = on_call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.scaled_dot_product_attention:
            given = {**dict(zip(_POSITIONAL, args, strict=False)), **(kwargs or {})}
            self._on_call(SdpaCall(**{name: given[name] for name in _RECORDED if name in given}))
        return output


@contextmanager
def capture_sdpa(
    modules: Mapping[str, nn.Module], on_call: Callable[[str, SdpaCall], None], on_end: Callable[[str], None]
) -> Iterator[None]:
    """Report the SDPA calls of some modules, inside this `with`.

    Only forwards in the thread that enters the `with` are reported: another thread may run the same modules
    meanwhile. After the `with` nothing is left in the modules or in the thread, also after Ctrl-C.

    Parameters
    ----------
    modules : mapping of name → module
        None of them contains another one of them.
    on_call : callable (name, call)
        Called after each SDPA call inside a module.
    on_end : callable (name)
        Called when the forward of a module has ended without an error.

    Raises
    ------
    What `on_call` and `on_end` raise leaves the module's forward.
    """
    threads = {threading.get_ident()}
    before: list[list[TorchFunctionMode]] = []  # for each forward in progress, the modes that were active before it

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            before.append(_get_current_function_mode_stack())
            _push_mode(_SdpaHook(lambda call: on_call(name, call)))

        return only_in(threads, hook)

    def leave(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if before:
                _restore_modes(before.pop())
            if output is not None:  # torch passes None when the forward raised an error
                on_end(name)

        return only_in(threads, hook)

    cleanup = ExitStack()
    cleanup.callback(_restore_modes, _get_current_function_mode_stack())
    cleanup.callback(threads.clear)
    try:
        with cleanup:
            for name, module in modules.items():
                cleanup.callback(module.register_forward_pre_hook(enter(name)).remove)
                cleanup.callback(module.register_forward_hook(leave(name), always_call=True).remove)
            yield
    finally:
        cleanup.close()  # what is left to do if Ctrl-C came just before the `with` cleans up


def only_in(threads: Set[int], hook: Callable[..., None]) -> Callable[..., None]:
    """Wrap a module hook so that it does nothing outside of some threads.

    A module's hooks run in every thread that runs the module.

    Parameters
    ----------
    threads : set of int
        As `threading.get_ident` gives them. When the set is cleared, the hook does nothing any more: Ctrl-C can hit
        torch after it has registered a hook and before it has returned the handle to remove it with.
    """

    def guarded(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() in threads:
            hook(*args, **kwargs)

    return guarded


def _restore_modes(modes: Sequence[TorchFunctionMode]) -> None:
    """Make `modes` this thread's stack of torch function modes, whatever the stack is now.

    Ctrl-C can hit torch while it has popped a mode for a moment, and then the mode is lost. So leaving a mode by its
    `__exit__` could pop somebody else's mode, or raise "trying to pop from empty mode stack" in place of the
    KeyboardInterrupt; and torch calls no forward hook after a KeyboardInterrupt.
    """
    current = _get_current_function_mode_stack()
    if current == [*modes]:
        return
    for _ in current:
        _pop_mode()
    for mode in modes:
        _push_mode(mode)
