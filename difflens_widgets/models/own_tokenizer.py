"""A tokenizer that several threads may use: the fast ones keep their padding where every thread sees it."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

_GUARD = threading.Lock()
_COPIES: weakref.WeakKeyDictionary[Any, tuple[int, Any]] = weakref.WeakKeyDictionary()


def own_tokenizer(tokenizer: Any) -> Any:
    """A copy of a tokenizer that encodes one text at a time; made anew when words were added to the original.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        It stays as it is, whatever the copy is asked for.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
        Of a subclass of its class.
    """
    with _GUARD:
        size, own = _COPIES.get(tokenizer, (None, None))
        if own is None or size != len(tokenizer):
            kind: Any = type(tokenizer)
            size, own = len(tokenizer), copy.deepcopy(tokenizer)
            own.__class__ = _one_at_a_time(kind)
            own.own_lock, own.original = threading.RLock(), weakref.ref(tokenizer)
            _COPIES[tokenizer] = size, own
        return own


@cache
def _one_at_a_time(kind: Any) -> Any:
    """The class of the copies: encoding waits for its turn, decoding is the original's."""
    locked = {name: _locked(getattr(kind, name)) for name in ("__call__", "encode", "tokenize") if hasattr(kind, name)}
    # decoding changes no state, and a copy of CLIP's tokenizer decodes differently
    decoding = {name: _original(name) for name in ("decode", "batch_decode")}
    return type(kind.__name__, (kind,), {**locked, **decoding, "__module__": kind.__module__})


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def one_at_a_time(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.own_lock:
            return method(self, *args, **kwargs)

    return one_at_a_time


def _original(name: str) -> Callable[..., Any]:
    def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.original(), name)(*args, **kwargs)

    return decode
