"""The text encoders of a pipeline during one run: each text is encoded once, and the output is edited row by row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from .encoder_pass import EncoderPass, map_tensors, read_of, run_changed, run_encoder, sharing_unread, stacked
from .family import Family

Source = Literal["prompt", "empty", "source", "plus", "minus"]
"""The texts of a run: its prompt, the empty prompt, the source of a patch, the two prompts of a steering direction."""
RowEdit = Callable[["EncoderSession", str], Any]
"""(session, name of the encoder) → the output of that encoder for one row."""


class EncoderSession:
    """Replaces the forwards of a pipeline's text encoders; all calls of one run share it.

    Each text (prompt, negative prompt, empty prompt) goes through an encoder once, as a batch of one, and the result is
    kept, whatever the number of rows and calls. In a pipeline call, the first forward of an encoder has the prompt
    (the negative prompt follows, in every pipeline): its rows are replaced by the `edits`.
    """

    def __init__(self, family: Family, encoders: dict[str, nn.Module]) -> None:
        self.family, self.encoders = family, encoders
        self._passes: dict[Any, EncoderPass] = {}
        self._calls: dict[tuple[Source, str], tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._edits: Sequence[RowEdit] | None = None
        self._source: Source = "prompt"
        self._probe = False
        self._seen: set[str] = set()
        self._skips: dict[str, Sequence[int]] = {}
        self._changed: dict[Hashable, Any] = {}

    def begin(self, edits: Sequence[RowEdit]) -> None:
        """Prepare for a call of the pipeline; there is one edit for each row."""
        self._edits, self._source, self._probe, self._seen = edits, "prompt", False, set()
        self._changed.clear()  # large, and no later call needs them

    def begin_encoding(
        self, source: Source, *, probe: bool = False, skips: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        """Prepare to encode one text.

        Parameters
        ----------
        source : Source
        probe : bool
            Return NaN in every state that the family does not declare as read.
        skips : mapping of encoder → blocks, optional
            Also run the encoder without each of these blocks, while the pipeline's LoRA scale is in force.
        """
        self._edits, self._source, self._probe, self._seen = None, source, probe, set()
        self._skips = dict(skips or {})

    def forward(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of an encoder for a call by the pipeline."""
        first, rows = name not in self._seen, _num_rows(args, kwargs)
        self._seen.add(name)
        if first:
            self._calls[self._source, name] = _row(args, kwargs, 0)
        if first and self._edits is not None:
            if rows != len(self._edits):
                raise RuntimeError(f"{name} was given {rows} rows for {len(self._edits)} pictures; please report it")
            return stacked([edit(self, name) for edit in self._edits])
        for block in self._skips.get(name, ()) if first else ():
            self.encoded(name, self._source, block)
        outputs = [self._pass(name, *_row(args, kwargs, row)).output for row in range(rows)]
        return stacked([self._probed(name, output) for output in outputs] if self._probe else outputs)

    def encoded(self, name: str, source: Source = "prompt", skip: int | None = None) -> EncoderPass:
        """The pass of a text through an encoder, without block `skip` if it is given."""
        return self._pass(name, *self._calls[source, name], skip)

    def changed(self, name: str, layer: int, change: Callable[[Tensor], Tensor], key: Hashable) -> Any:
        """The prompt's output if `change` is applied to the state after block `layer`, and the later blocks then run.

        Equal keys must mean equal changes. Kept for one call of the pipeline.
        """
        at = name, layer, key
        if at not in self._changed:
            declared, (args, kwargs) = self.family.encoder(name), self._calls["prompt", name]
            output = run_changed(declared, self.encoders[name], args, kwargs, layer, change)
            self._changed[at] = sharing_unread(declared, output, self.encoded(name).output)
        return self._changed[at]

    def _pass(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], skip: int | None = None) -> EncoderPass:
        key = (name, skip, *map(_content, args), *((word, _content(value)) for word, value in sorted(kwargs.items())))
        if key not in self._passes:
            self._passes[key] = run_encoder(self.family.encoder(name), self.encoders[name], args, kwargs, skip)
        return self._passes[key]

    def _probed(self, name: str, output: Any) -> Any:
        declared = self.family.encoder(name)
        read = set() if declared.only_pooled else {id(state) for state in read_of(declared, output)}

        def spoiled(tensor: Tensor) -> Tensor:
            is_state = tensor.ndim == 3  # a pooled vector has two dimensions
            return tensor * torch.nan if is_state and id(tensor) not in read else tensor

        return map_tensors(spoiled, output)


class Answers(Protocol):
    """Answers the calls of text encoders, as an `EncoderSession`."""

    def forward(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of an encoder for a call by the pipeline."""


class EncoderProxy(nn.Module):
    """Replaces a text encoder in a view of a pipeline: the forward is the session's, all else the encoder's."""

    def __init__(self, encoder: nn.Module, name: str, session: Answers) -> None:
        super().__init__()
        self.encoder = encoder
        self._answer = lambda args, kwargs: session.forward(name, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the session's output."""
        return self._answer(args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("encoder"), name)


def _num_rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


def _row(args: tuple[Any, ...], kwargs: dict[str, Any], row: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments for one row of a batch."""

    def of_row(value: Any) -> Any:
        return value[row : row + 1] if isinstance(value, Tensor) and value.ndim > 1 else value

    return tuple(map(of_row, args)), {name: of_row(value) for name, value in kwargs.items()}


def _content(value: Any) -> Any:
    """A hashable key; arguments with equal keys are equal."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.cpu().numpy().tobytes()
    return repr(value)
