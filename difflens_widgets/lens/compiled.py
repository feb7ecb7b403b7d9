"""A compiled denoiser, opt-in: torch compiles it beside a run, and the next runs of the same shape take it.

What is compiled is a copy of the module tree with the same weights: a run may change the modules of the original
meanwhile (attention capture). It is taken only while the denoiser is as it was when the copy was made (`Known`),
and for forwards of exactly the shapes that it was compiled for; all others take the denoiser as it is. Whether a run
takes it is decided where the run begins. Images are the same up to rounding.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.content_hash import NotHashable
from ..models.known_modules import Known, check
from ..models.lora_strength import copied_tree
from ..models.view import PipelineView
from ..runs.worker import Worker

log = logging.getLogger(__name__)

_MOST_SHAPES = 8  # torch's own limit of recompilations: beyond it, it would go on uncompiled and not say so
_WORKER = Worker()  # one at a time, whatever the pipeline: compiling takes all processors
_PATIENCE = 60  # seconds; a C++ compiler that has begun is waited for
_COMPILING: list[threading.Thread] = []  # the thread that compiles
_GUARD = threading.Lock()
_CODES: weakref.WeakKeyDictionary[nn.Module, tuple[Known, _Code]] = weakref.WeakKeyDictionary()


class NotCompiled(Exception):
    """Why a run takes the denoiser as it is."""


class _Shape(NamedTuple):
    """What of a run decides the shapes of its forwards."""

    rows: int
    height: int
    width: int
    tokens: int
    guided: bool


class CompiledDenoiser:
    """The compiled denoiser as one run sees it: what is compiled meanwhile is for later runs.

    Parameters
    ----------
    view : PipelineView
        Its prompt must be encoded already.
    height, width : int
        In pixels.
    guided : bool
        Whether the denoiser gets twice the rows.

    Raises
    ------
    NotCompiled
        If this denoiser cannot be compiled.
    """

    def __init__(self, view: PipelineView, height: int, width: int, *, guided: bool) -> None:
        self._name = view.family.denoiser
        self._size = height, width, view.session.encoded(view.encoder.name).states.shape[-2], guided
        self._code = _code_of(getattr(view.pipe, self._name))
        if self._code.failure:
            raise NotCompiled(self._code.failure)
        self._ready = dict(self._code.ready)

    def takes(self, rows: int) -> bool:
        """Whether calls of the pipeline with so many rows take compiled code."""
        return self._shape(rows) in self._ready

    @contextmanager
    def in_use(self, pipe: Any, rows: int) -> Iterator[None]:
        """In a call of a view's pipeline with so many rows, take the compiled code, or have it compiled for later."""
        own, shape = vars(pipe), self._shape(rows)
        before = own[self._name]
        own[self._name] = _Proxy(before, self._code, shape, self._ready.get(shape))
        try:
            yield
        finally:
            own[self._name] = before

    def _shape(self, rows: int) -> _Shape:
        return _Shape(rows, *self._size)


def wait_until_compiled() -> None:
    """Wait for all that is being compiled."""
    done = threading.Event()
    _WORKER.submit(done.set)
    done.wait()


def _exiting() -> bool:
    return not threading.main_thread().is_alive()


@atexit.register
def _stop() -> None:
    """Stop compiling when the interpreter exits: the end of a thread inside of torch would abort the process."""
    for thread in list(_COMPILING):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join(_PATIENCE)


class _Code:
    """A copy of a denoiser, and the forwards that it was compiled for."""

    def __init__(self, denoiser: nn.Module) -> None:
        self.compiled = torch.compile(copied_tree(denoiser), dynamic=False)
        self.ready: dict[_Shape, Any] = {}
        self.failure = ""
        self._asked: set[_Shape] = set()

    def compile_for(self, shape: _Shape, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Compile for forwards like this one, in a thread of its own; once for each shape."""
        if shape in self._asked or len(self._asked) == _MOST_SHAPES:
            return
        self._asked.add(shape)
        signature, example = _signature((args, kwargs)), _cloned((args, dict(kwargs)))

        def work() -> None:
            if _exiting():
                return
            _COMPILING.append(threading.current_thread())
            try:
                with torch.inference_mode():
                    self.compiled(*example[0], **example[1])
            except Exception as error:  # noqa: BLE001 (whatever a compiler says, the runs go on without it)
                if _exiting():
                    return
                cause = getattr(error, "inner_exception", error)
                lines = str(cause).strip().splitlines() or [""]
                self.failure = f"torch could not compile it ({type(cause).__name__}: {lines[0][:200]})"
                log.warning("the denoiser runs as it is: %s", self.failure)
            except SystemExit:  # of `_stop`
                pass
            else:
                self.ready[shape] = signature
            finally:
                _COMPILING.clear()

        _WORKER.submit(work)


class _Proxy(nn.Module):
    """Replaces a denoiser during a call of the pipeline: some forwards are the compiled code's, all else is its own."""

    def __init__(self, denoiser: nn.Module, code: _Code, shape: _Shape, ready: Any) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._code, self._shape, self._ready = code, shape, ready

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the denoiser's output."""
        if self._ready is None:
            self._code.compile_for(self._shape, args, kwargs)
        elif _signature((args, kwargs)) == self._ready:
            return self._code.compiled(*args, **kwargs)
        return self.denoiser(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("denoiser"), name)


def _code_of(denoiser: nn.Module) -> _Code:
    """The code for a denoiser as it is now."""
    for part in denoiser.modules():
        own = vars(part)
        if own.get("_compiled_call_impl") is not None or "_orig_mod" in own["_modules"]:
            raise NotCompiled("it is compiled already")
        if "forward" in own:
            raise NotCompiled("it is offloaded, or its forward was replaced")
        if isinstance(own.get("scaling"), dict):
            raise NotCompiled("it has LoRA layers, whose strength may change; merge them with fuse_lora()")
    try:
        known = check(denoiser)
    except NotHashable as reason:
        raise NotCompiled(f"it holds {reason}") from None
    with _GUARD:
        before, code = _CODES.get(denoiser, (None, None))
        if code is None or before is not known:
            code = _Code(denoiser)
            _CODES[denoiser] = known, code
        return code


def _signature(value: Any) -> Any:
    """What torch compiles for: shapes and strides of tensors, and all other values; comparable."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device
    if isinstance(value, Mapping):
        return tuple((name, _signature(item)) for name, item in sorted(value.items()))
    if isinstance(value, tuple | list):
        return tuple(map(_signature, value))
    return repr(value)


def _cloned(value: Any) -> Any:
    """A copy in which every tensor is one of its own."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _cloned(item) for name, item in value.items()}
    return type(value)(map(_cloned, value)) if type(value) in (tuple, list) else value
