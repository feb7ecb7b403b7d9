"""Edits of what a text encoder returns for one row of a batch: the lens, the per-token lens and the ablation.

A picture of the lens is the stock pipeline's picture with one thing exchanged: what its text encoder returns. An edit
says what; the row without any (`Layer` of the last layer) is the stock picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.encoder_pass import map_tensors, tensors_of, with_reads
from ..models.encoder_session import EncoderSession, Source


@dataclass(frozen=True)
class Edit(ABC):
    """What one row's text encoders return.

    Attributes
    ----------
    encoder : str
        The name of the text encoder that is looked at; what the others return stays the stock output.
    """

    encoder: str

    def __call__(self, session: EncoderSession, name: str) -> Any:
        """What the encoder `name` returns for this row."""
        return self.output(session, name, "prompt")

    def output(self, session: EncoderSession, name: str, source: Source) -> Any:
        """The same, of the prompt or of the empty prompt."""
        if name != self.encoder:
            return session.encoded(name, source).output
        return self._edited(session, source)

    @abstractmethod
    def _edited(self, session: EncoderSession, source: Source) -> Any:
        """What the lensed encoder returns."""


@dataclass(frozen=True)
class Layer(Edit):
    """The lens: the state after block `layer` stands where the pipeline reads; 0 is the embeddings.

    Where a pipeline reads several states, each place holds the state of min(its own layer, `layer`): what is known by
    block `layer`. Toker et al., "Diffusion Lens", ACL 2024.
    """

    layer: int

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        declared = session.family.encoder(self.encoder)
        stock = session.encoded(self.encoder, source)
        read = declared.read_layers(len(declared.blocks_of(session.encoders[self.encoder])))
        if self.layer >= read[-1]:
            return stock.output
        states = [stock.read_states[min(index, self.layer)][None] for index in read]
        return with_reads(declared, stock.output, states)


@dataclass(frozen=True)
class SkipBlock(Edit):
    """The ablation: the encoder runs without block `block`; 1 is the first, 0 leaves out nothing."""

    block: int

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        return session.encoded(self.encoder, source, self.block or None).output


@dataclass(frozen=True)
class KeepTokens(Edit):
    """The per-token lens: `edit` at some positions, and the empty prompt's states at all others.

    Attributes
    ----------
    edit : Edit
    positions : frozenset of int
        Kept besides the first position, the start token. Where the denoiser reads several encoders, of all of them.
    whole : bool
        Whether all words of the prompt are kept. A pooled vector would tell the words that are left out: it is the
        prompt's only then, else the empty prompt's.

    References
    ----------
    Toker et al., "Padding Tone", NAACL 2025.
    """

    edit: Edit
    positions: frozenset[int]
    whole: bool

    def output(self, session: EncoderSession, name: str, source: Source) -> Any:
        """Both outputs, put together position by position."""
        kept = self.edit.output(session, name, "prompt")
        clean = iter(tensors_of(self.edit.output(session, name, "empty")))

        def merge(tensor: Tensor) -> Tensor:
            other = next(clean)
            if tensor.ndim < 3:  # a vector of the whole prompt
                return tensor if self.whole else other
            if tensor.ndim > 3 or tensor is other:  # attention weights, which no pipeline reads
                return tensor
            mask = _mask(tensor.shape[1], self.positions).to(tensor.device)
            return torch.where(mask, tensor, other)

        return map_tensors(merge, kept)

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        return self.output(session, self.encoder, source)


def _mask(length: int, positions: Iterable[int]) -> Tensor:
    kept = torch.zeros(length, dtype=torch.bool)
    kept[[0, *positions]] = True
    return kept[:, None]
