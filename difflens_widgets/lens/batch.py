"""The rows of a run, one for each image, and the order in which they are denoised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from ..models.view import PipelineView
from ..runs.maps.plan import Plan
from ..runs.tokens import TokenKey
from ..runs.variant import Variant
from .compiled import CompiledDenoiser
from .edits import Edit, KeepTokens

StepListener = Callable[[int, int, Tensor, Tensor], object]  # (layer, step, timestep, latents)

_STRIDE = 4  # after the displayed layer, every fourth layer


class BatchRow(NamedTuple):
    """One image to generate: a layer, with the whole prompt (`token` None), with one token kept, or of a variant."""

    layer: int
    token: TokenKey | None = None


@dataclass(frozen=True)
class Batch:
    """All images that one run generates.

    Attributes
    ----------
    view : PipelineView
    prompt : str
    negative_prompt : str or None
        None: the default of the stock pipeline.
    layers : tuple of int
        The requested layers.
    num_layers : int
        Number of all layers, requested or not.
    edit : callable
        (layer, variant or None) → its edit for the whole prompt.
    name_of : callable
        (layer, token) → the name of its image in messages.
    token_masks : mapping of token → positions
        The positions that each image of the per-token lens keeps.
    words : frozenset of int
        The positions of the prompt's words.
    kept : mapping of token → encoder → positions
        For each of `token_masks` what each encoder keeps, its start token among it; see `kept_positions`.
    empty : mapping of encoder → positions
        The position of the empty prompt for each position of the prompt, see `positions_in_empty`.
    plan : Plan or None
        How attention is captured; None: it is not captured.
    one_truth : bool
        Whether the whole prompt has one image for all layers: it is painted once, as that of the last layer.
    denoiser : callable
        rows → a context for one call of the pipeline, in which the denoiser is changed for these rows.
    compiled : CompiledDenoiser or None
        None: the denoiser is taken as it is.
    """

    view: PipelineView
    prompt: str
    negative_prompt: str | None
    layers: tuple[int, ...]
    num_layers: int
    edit: Callable[[int, TokenKey | None], Edit]
    name_of: Callable[[int, TokenKey | None], str]
    token_masks: Mapping[TokenKey, Sequence[int]] = field(default_factory=dict)
    words: frozenset[int] = frozenset()
    kept: Mapping[TokenKey, Mapping[str, frozenset[int]]] = field(default_factory=dict)
    empty: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    plan: Plan | None = None
    one_truth: bool = False
    denoiser: Callable[[Sequence[BatchRow]], AbstractContextManager[object]] = lambda rows: nullcontext()
    compiled: CompiledDenoiser | None = None

    @property
    def changes_denoiser(self) -> bool:
        """Whether the denoiser is changed row by row."""
        return not isinstance(self.denoiser(self.rows[:1]), nullcontext)

    @property
    def rows(self) -> list[BatchRow]:
        """All rows; the rows of single tokens come last."""
        truths = (self.num_layers - 1,) if self.one_truth else self.layers
        variants = [BatchRow(layer, token) for token in self.token_masks for layer in self.layers]
        return [*map(BatchRow, truths), *variants]

    def edit_of(self, row: BatchRow) -> Edit:
        """The edit of the text encoders' outputs for one row."""
        if row.token is None or isinstance(row.token, Variant):
            return self.edit(row.layer, row.token)
        edit = self.edit(row.layer, None)
        kept = dict(self.kept[row.token])
        positions = kept.pop(edit.encoder)
        others, empty = tuple(kept.items()), tuple(self.empty.items())
        return KeepTokens(edit.encoder, edit, positions, positions >= self.words, others, empty)


def rows_per_call(total: int, batch_size: int) -> int:
    """How many rows each call has that denoises `total` rows, at most `batch_size` at once, in calls of equal size.

    13 rows, at most 7 at once, give 2 calls of 7 (one row is padding); 8 rows 2 calls of 4; 1 row 1 call of 1. Rows of
    calls of equal size can be compared to the byte.
    """
    calls = -(-total // batch_size)
    return -(-total // calls)


def next_rows(
    remaining: Sequence[BatchRow], size: int, focus: int | None, num_layers: int, *, batch_invariant: bool = False
) -> dict[int, BatchRow]:
    """The rows to denoise next, by batch index: the displayed layer first, then every fourth layer, then the rest.

    All rows of the whole prompt come before the rows of single tokens. The indices are 0, 1, ... in this order; with
    `batch_invariant`, each row has its own fixed index, and the row that comes first among those of an index has it.
    """
    order = _layer_order(num_layers)

    def rank(row: BatchRow) -> tuple[bool, bool, int]:
        return row.token is not None, row.layer != focus, order.index(row.layer)

    ranked = sorted(remaining, key=rank)
    if not batch_invariant:
        return dict(enumerate(ranked[:size]))
    chosen: dict[int, BatchRow] = {}
    for row in ranked:
        chosen.setdefault(batch_index(row, size, num_layers), row)
    return chosen


def batch_index(row: BatchRow, size: int, num_layers: int) -> int:
    """The fixed index of a row with `batch_invariant`: with several threads, the last bits of an image depend on it."""
    token = row.token  # a shift by the token: otherwise all tokens of a layer would share one index
    shift = token.number + 1 if isinstance(token, Variant) else token if isinstance(token, int) else 0
    return (_layer_order(num_layers).index(row.layer) + shift) % size


def _layer_order(num_layers: int) -> list[int]:
    """Every fourth layer, counted back from the last one, then the rest."""
    last = num_layers - 1
    return sorted(range(num_layers), key=lambda layer: ((last - layer) % _STRIDE != 0, last - layer))
