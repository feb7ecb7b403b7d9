"""How long the states are, and how much each block of the text encoder changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runs.tokens import Kind, Token
from .axes import BLUE, GRAY, finish, layer_axis, new_figure
from .states import HasStates, cosine, positions_of, require_layers, states_at, states_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def state_norms(run: HasStates) -> np.ndarray:
    """Euclidean length of each token's state at each layer.

    Parameters
    ----------
    run : LensRun or TokenStates
        The states of a LensRun are the raw ones, before the final norm; `read_states` gives both.

    Returns
    -------
    float64 array (num_layers, tokens)
        Column i belongs to `run.tokens[i]`. In trained CLIP models the start token is far longer than all others: look
        at single tokens before you take a mean.

    Raises
    ------
    ValueError
        If the run has no states, or some are not finite.
    """
    return np.linalg.norm(states_of(run), axis=-1)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class LayerChange:
    """How much each block changes the states of a prompt's tokens.

    Attributes
    ----------
    cosine : float64 array (num_layers - 1, tokens)
        Cosine distance, 0..2, between the states before and after a block; row 0 is block 1. `cosine.mean(1)` is the
        mean over the tokens.
    relative : float64 array (num_layers - 1, tokens)
        Length of the change divided by the length before it: ‖h_k - h_(k-1)‖ / ‖h_(k-1)‖, ≥ 0.
    tokens : tuple of Token
        The tokens of the columns.
    prompt : str
    """

    cosine: np.ndarray
    relative: np.ndarray
    tokens: tuple[Token, ...]
    prompt: str

    def plot(self) -> Figure:
        """Draw both numbers over the blocks: each token, and the mean."""
        return plot_layer_change(self)


def layer_change(run: HasStates, kinds: Kind | Iterable[Kind] = ("word", "eos")) -> LayerChange:
    """Measure how much each block changes the states, token by token.

    Parameters
    ----------
    run : LensRun or TokenStates
        A LensRun keeps float16, where relative changes below about 1e-3 are rounding; use `read_states` for those.
    kinds : "bos", "word", "eos", "pad", or several
        Which tokens.

    Raises
    ------
    ValueError
        If the run has no states, some are not finite, there is no token of these kinds, or the layers do not build on
        each other (a layer ablation).
    """
    require_layers(run)
    positions = positions_of(run, kinds)
    states = states_at(run, positions)
    before, after = states[:-1], states[1:]
    lengths = np.linalg.norm(before, axis=-1)
    changes = np.linalg.norm(after - before, axis=-1)
    relative = np.divide(changes, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0)
    return LayerChange(1 - cosine(before, after), relative, tuple(run.tokens[i] for i in positions), run.prompt)


def plot_layer_change(change: LayerChange) -> Figure:
    """Draw cosine distance and relative change over the blocks: each token, and the mean."""
    figure, panels = new_figure(9.0, 3.8, columns=2)
    blocks = np.arange(1, len(change.cosine) + 1)
    labels = ("cosine distance (0 to 2)", "relative change (ratio of lengths)")
    for axes, values, label in zip(panels, (change.cosine, change.relative), labels, strict=True):
        axes.plot(blocks, values, color=GRAY, linewidth=0.7, alpha=0.6)
        axes.plot(blocks, values.mean(1), color=BLUE, linewidth=2, marker="o", markersize=4)
        axes.set_ylabel(label)
        if values is change.relative and (values > 0).all():
            axes.set_yscale("log")  # the first block multiplies the length, the later ones add little
        else:
            axes.set_ylim(bottom=0)
        layer_axis(axes, blocks, "block: from layer k - 1 to layer k")
    caption = f"gray: single tokens (n = {len(change.tokens)}) · blue: their mean"
    return finish(figure, f"“{change.prompt}”", caption)
