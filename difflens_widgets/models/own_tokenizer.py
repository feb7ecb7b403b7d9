"""A tokenizer that several threads may use: the fast ones keep their padding where every thread sees it.

It also tells what it read: `recorded_calls` lists the calls that this thread made meanwhile.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

from .tokenizer_call import TokenizerCall, call_of

_RECORDS = threading.local()
_GUARD = threading.Lock()
_COPIES: weakref.WeakKeyDictionary[Any, tuple[int, Any]] = weakref.WeakKeyDictionary()


def own_tokenizer(tokenizer: Any) -> Any:
    """A copy of a tokenizer that encodes one text at a time; made anew when words were added to the original.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase, or a processor that has one
        It stays as it is, whatever the copy is asked for.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
        Of a subclass of its class.
    """
    with _GUARD:
        return _own(tokenizer)


@contextmanager
def recorded_calls() -> Iterator[list[TokenizerCall]]:
    """Inside, list the calls of this thread to copies of `own_tokenizer`, also those of `apply_chat_template`."""
    before = getattr(_RECORDS, "calls", None)
    calls: list[TokenizerCall] = []
    _RECORDS.calls = calls
    try:
        yield calls
    finally:
        _RECORDS.calls = before


def without_processor(tokenizer: Any) -> Any:
    """The tokenizer itself: FLUX.2's is inside a processor."""
    inner = getattr(tokenizer, "tokenizer", None)
    return tokenizer if inner is None else inner


def _own(tokenizer: Any) -> Any:
    inner = without_processor(tokenizer)
    words = len(inner)
    size, own = _COPIES.get(tokenizer, (None, None))
    if own is None or size != words:
        kind: Any = type(tokenizer)
        own = copy.deepcopy(tokenizer)
        own.__class__ = _one_at_a_time(kind)
        if inner is tokenizer:  # what is too long is read here to tell what is cut off
            own.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
        own.own_lock, own.original = threading.RLock(), weakref.ref(tokenizer)
        if inner is not tokenizer:
            own.tokenizer = _own(inner)
        _COPIES[tokenizer] = words, own
    return own


@cache
def _one_at_a_time(kind: Any) -> Any:
    """The class of the copies: encoding waits for its turn, decoding is the original's."""
    names = ("encode", "tokenize", "apply_chat_template")
    locked = {name: _locked(getattr(kind, name)) for name in names if hasattr(kind, name)}
    locked["__call__"] = _recorded(_locked(kind.__call__))
    # decoding changes no state, and a copy of CLIP's tokenizer decodes differently
    decoding = {name: _original(name) for name in ("decode", "batch_decode")}
    return type(kind.__name__, (kind,), {**locked, **decoding, "__module__": kind.__module__})


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def one_at_a_time(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.own_lock:
            return method(self, *args, **kwargs)

    return one_at_a_time


def _recorded(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = method(self, *args, **kwargs)
        calls = getattr(_RECORDS, "calls", None)
        text = args[0] if args else kwargs.get("text")
        first = text[0] if isinstance(text, list | tuple) and text else text
        if calls is not None and isinstance(first, str) and hasattr(self, "convert_ids_to_tokens"):
            _RECORDS.calls = None  # reading its pieces may call it again
            try:
                calls.append(call_of(self, first, output))
            finally:
                _RECORDS.calls = calls
        return output

    return call


def _original(name: str) -> Callable[..., Any]:
    def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.original(), name)(*args, **kwargs)

    return decode
