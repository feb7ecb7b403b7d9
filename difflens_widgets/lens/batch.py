"""What is denoised: one row for each picture, and the order in which they are painted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..models.view import PipelineView
from ..runs.maps.plan import Plan
from ..runs.tokens import PromptPart, TokenKey
from .edits import Edit, KeepTokens

StepListener = Callable[[int, int, Tensor, Tensor], object]  # (layer, step, timestep, latents)

_STRIDE = 4  # after the layer on screen, every fourth


class BatchRow(NamedTuple):
    """One picture to paint: a layer, of the whole prompt (None) or with only one token kept."""

    layer: int
    token: TokenKey | None = None

    def described(self, layer_name: str) -> str:
        """What a message calls it, given what its run calls the layer."""
        if self.token is None:
            return layer_name
        return f"{layer_name} with {self.token if isinstance(self.token, PromptPart) else f'token {self.token}'} kept"


@dataclass(frozen=True)
class Batch:
    """Everything that one run paints.

    Attributes
    ----------
    view : PipelineView
    prompt : str
    negative_prompt : str or None
        None: what the stock pipeline takes without one.
    layers : tuple of int
        The layers asked for.
    num_layers : int
        How many there are.
    edit : callable
        layer → its edit of the whole prompt.
    name_of : callable
        layer → what messages call its picture.
    token_masks : mapping of token → positions
        For the per-token lens.
    words : frozenset of int
        The positions of the prompt's words.
    plan : Plan or None
        What is kept of the attention, where that was asked for.
    """

    view: PipelineView
    prompt: str
    negative_prompt: str | None
    layers: tuple[int, ...]
    num_layers: int
    edit: Callable[[int], Edit]
    name_of: Callable[[int], str]
    token_masks: Mapping[TokenKey, Sequence[int]] = field(default_factory=dict)
    words: frozenset[int] = frozenset()
    plan: Plan | None = None

    @property
    def rows(self) -> list[BatchRow]:
        """All pictures, those of single tokens last."""
        return [BatchRow(layer, token) for token in (None, *self.token_masks) for layer in self.layers]

    def edit_of(self, row: BatchRow) -> Edit:
        """What the text encoders return for one row."""
        edit = self.edit(row.layer)
        if row.token is None:
            return edit
        positions = frozenset(self.token_masks[row.token])
        return KeepTokens(edit.encoder, edit, positions, whole=positions >= self.words)


def next_rows(remaining: Sequence[BatchRow], size: int, focus: int | None, num_layers: int) -> dict[int, BatchRow]:
    """The rows to paint next, by their index in the batch: the layer on screen, then every fourth, then the rest.

    First those of the whole prompt, then those of single tokens in the order asked.
    """
    order = _layer_order(num_layers)

    def rank(row: BatchRow) -> tuple[bool, bool, int]:
        return row.token is not None, row.layer != focus, order.index(row.layer)

    chosen: dict[int, BatchRow] = {}
    for row in sorted(remaining, key=rank):
        chosen.setdefault(batch_index(row, size, num_layers), row)
    return chosen


def batch_index(row: BatchRow, size: int, num_layers: int) -> int:
    """Where in the batch a row is always denoised: with several threads its last bits depend on that, too."""
    shift = row.token if isinstance(row.token, int) else 0  # else one layer's tokens would all want the same index
    return (_layer_order(num_layers).index(row.layer) + shift) % size


def _layer_order(num_layers: int) -> list[int]:
    """Every fourth layer counted from the last, then the rest."""
    last = num_layers - 1
    return sorted(range(num_layers), key=lambda layer: ((last - layer) % _STRIDE != 0, last - layer))
