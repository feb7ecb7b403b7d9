"""Edits of a text encoder's output for one row of a batch: the lens, per-token lens, ablation, patch and steering.

An image of the lens is the stock pipeline's image with one change: the output of the text encoder. An edit defines this
change. The edit `Layer` of the last layer changes nothing: it gives the stock image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..models.encoder_pass import map_tensors, read_of, tensors_of, with_reads
from ..models.encoder_session import EncoderSession, Source

Slots = Literal["cut", "all"] | int
"""Which of the states that a pipeline reads become the examined layer's."""


@dataclass(frozen=True)
class Edit(ABC):
    """What the text encoders return for one row.

    Attributes
    ----------
    encoder : str
        The name of the examined text encoder; the others return their stock output.
    """

    encoder: str

    def __call__(self, session: EncoderSession, name: str) -> Any:
        """What the encoder `name` returns for this row."""
        return self.output(session, name, "prompt")

    def output(self, session: EncoderSession, name: str, source: Source) -> Any:
        """What the encoder `name` returns for the prompt, or for the empty prompt."""
        if name != self.encoder:
            return session.encoded(name, source).output
        return self._edited(session, source)

    @abstractmethod
    def _edited(self, session: EncoderSession, source: Source) -> Any:
        """What the examined encoder returns."""


@dataclass(frozen=True)
class Layer(Edit):
    """The lens: the pipeline reads the state after block `layer` in place of the last one; 0 is the embeddings.

    Toker et al., "Diffusion Lens", ACL 2024.

    Attributes
    ----------
    layer : int
    slots : "cut", int or "all"
        Where a pipeline reads the states of several layers, its slots. "cut": each becomes the state of min(its own
        layer, `layer`), what the encoder has computed up to block `layer`. An int: only this slot becomes the state of
        `layer`. "all": every slot does, which no denoiser was trained on.
    """

    layer: int
    slots: Slots = "cut"

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        declared = session.family.encoder(self.encoder)
        stock = session.encoded(self.encoder, source)
        read = declared.read_layers(len(declared.blocks_of(session.encoders[self.encoder])))
        if self.slots == "cut":
            layers = [min(index, self.layer) for index in read]
        else:
            layers = [self.layer if self.slots in ("all", slot) else index for slot, index in enumerate(read)]
        if layers == list(read):
            return stock.output
        states = [stock.read_states[layer][None] for layer in layers]
        return with_reads(declared, stock.output, states)


@dataclass(frozen=True)
class SkipBlock(Edit):
    """The ablation: the encoder runs without block `block`; 1 is the first block, 0 skips none."""

    block: int

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        return session.encoded(self.encoder, source, self.block or None).output


@dataclass(frozen=True)
class Patch(Edit):
    """Activation patching: after block `layer` some states are the source prompt's, and the later blocks then run.

    Meng et al., "Locating and Editing Factual Associations in GPT", NeurIPS 2022.

    Attributes
    ----------
    layer : int
        0: the embeddings.
    positions : tuple of (position in the prompt, position in the source)
        None: the stock output.
    """

    layer: int
    positions: tuple[tuple[int, int], ...]

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        if source != "prompt" or not self.positions:
            return session.encoded(self.encoder, source).output
        theirs = session.encoded(self.encoder, "source").states[self.layer]
        return session.changed(self.encoder, self.layer, lambda state: _patched(state, theirs, self.positions), self)


@dataclass(frozen=True)
class OutputPatch(Edit):
    """The states that the pipeline reads are the source prompt's at some positions; no block runs on them.

    A pooled vector stays the prompt's. `positions` are those of `Patch`.
    """

    positions: tuple[tuple[int, int], ...]

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        stock = session.encoded(self.encoder, source).output
        if source != "prompt" or not self.positions:
            return stock
        declared = session.family.encoder(self.encoder)
        theirs = read_of(declared, session.encoded(self.encoder, "source").output)
        pairs = zip(read_of(declared, stock), theirs, strict=True)
        return with_reads(declared, stock, [_patched(mine, other[0], self.positions) for mine, other in pairs])


@dataclass(frozen=True)
class Steer(Edit):
    """Steering: `strength` times a direction is added to the states after block `layer`; the later blocks then run.

    Attributes
    ----------
    layer : int
        0: the embeddings.
    strength : float
        0 gives the stock output.
    direction : Tensor (position, width)
        Zero where nothing is added.
    """

    layer: int
    strength: float
    direction: Tensor = field(compare=False)

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        if source != "prompt" or not self.strength:
            return session.encoded(self.encoder, source).output

        def steered(state: Tensor) -> Tensor:
            return state + (self.strength * self.direction).to(state)

        return session.changed(self.encoder, self.layer, steered, self)


@dataclass(frozen=True)
class KeepTokens(Edit):
    """The per-token lens: the output of `edit` at some positions, and the empty prompt's states at all others.

    Attributes
    ----------
    edit : Edit
    positions : frozenset of int
        The kept positions of the examined encoder, its start token among them.
    others : tuple of (encoder, frozenset of int)
        The kept positions of the other encoders that the denoiser reads; those of the examined one, where it is not
        named.
    empty : tuple of (encoder, tuple of int)
        For each position of an encoder the position of the empty prompt that takes its place; see
        `positions_in_empty`. The same position, where it is not named.
    whole : bool
        Whether all words of the prompt are kept. A pooled vector holds removed words too, so it is the prompt's only
        if this is true, and otherwise the empty prompt's.

    References
    ----------
    Toker et al., "Padding Tone", NAACL 2025.
    """

    edit: Edit
    positions: frozenset[int]
    whole: bool
    others: tuple[tuple[str, frozenset[int]], ...] = ()
    empty: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def output(self, session: EncoderSession, name: str, source: Source) -> Any:
        """Merge the two outputs position by position."""
        kept = self.edit.output(session, name, "prompt")
        clean = iter(tensors_of(self.edit.output(session, name, "empty")))
        positions, places = dict(self.others).get(name, self.positions), dict(self.empty).get(name)

        def merge(tensor: Tensor) -> Tensor:
            other = next(clean)
            if tensor.ndim < 3:  # a pooled vector
                return tensor if self.whole else other
            if tensor.ndim > 3 or tensor is other:  # attention weights, which no pipeline reads
                return tensor
            mask = _mask(tensor.shape[1], positions).to(tensor.device)
            return torch.where(mask, tensor, other if places is None else other[:, list(places)])

        return map_tensors(merge, kept)

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        return self.output(session, self.encoder, source)


def _patched(state: Tensor, source: Tensor, positions: tuple[tuple[int, int], ...]) -> Tensor:
    """A copy of `state` (1, position, width) with some positions from `source` (position, width)."""
    mine, theirs = (list(side) for side in zip(*positions, strict=True))
    changed = state.clone()
    changed[:, mine] = source[theirs].to(state)
    return changed


def _mask(length: int, positions: Iterable[int]) -> Tensor:
    kept = torch.zeros(length, dtype=torch.bool)
    kept[[*positions]] = True
    return kept[:, None]
