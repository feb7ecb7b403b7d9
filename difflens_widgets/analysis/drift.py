"""How long the states are, and how far each block moves them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runs.tokens import Kind, Token
from .axes import BLUE, GRAY, finish, layer_axis, new_figure
from .states import HasStates, cosine, places_of, require_layers, states_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def state_norms(run: HasStates) -> np.ndarray:
    """Euclidean length of every token's state at every layer.

    Parameters
    ----------
    run : LensRun or TokenStates
        A run's states are the raw ones, before the final norm; `read_states` gives both.

    Returns
    -------
    float64 array (num_layers, tokens)
        Column i is `run.tokens[i]`. In trained CLIP models the start token is far longer than all others: look at
        tokens one by one before taking a mean.

    Raises
    ------
    ValueError
        If the run has no states, or some are not finite.
    """
    return np.linalg.norm(states_of(run), axis=-1)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class LayerDrift:
    """How each block moves the states of a prompt's tokens.

    Attributes
    ----------
    cosine : float64 array (num_layers - 1, tokens)
        Cosine distance, 0..2, between the states before and after block k; row 0 is block 1. `cosine.mean(1)` is the
        mean over the tokens.
    relative : float64 array (num_layers - 1, tokens)
        Length of the change in units of the length before it: ‖h_k - h_(k-1)‖ / ‖h_(k-1)‖, ≥ 0.
    tokens : tuple of Token
        Those that were asked for, one for each column.
    prompt : str
    """

    cosine: np.ndarray
    relative: np.ndarray
    tokens: tuple[Token, ...]
    prompt: str

    def plot(self) -> Figure:
        """Both measures over the blocks, each token and their mean."""
        return plot_drift(self)


def layer_drift(run: HasStates, kinds: Kind | Iterable[Kind] = ("word", "eos")) -> LayerDrift:
    """Measure how each block moves the states, token by token.

    Parameters
    ----------
    run : LensRun or TokenStates
        A run keeps float16: relative changes below about 1e-3 are rounding there; take `read_states` for those.
    kinds : "bos", "word", "eos", "pad", or several
        Which tokens; padding is left out unless asked for.

    Raises
    ------
    ValueError
        If the run has no states, some are not finite, it has no token of these kinds, or its layers do not build on
        each other (a layer ablation).
    """
    require_layers(run)
    places = places_of(run, kinds)
    states = states_of(run)[:, places]
    before, after = states[:-1], states[1:]
    lengths = np.linalg.norm(before, axis=-1)
    moved = np.linalg.norm(after - before, axis=-1)
    relative = np.divide(moved, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0)
    return LayerDrift(1 - cosine(before, after), relative, tuple(run.tokens[place] for place in places), run.prompt)


def plot_drift(drift: LayerDrift) -> Figure:
    """Cosine distance and relative change over the blocks: each token, and their mean."""
    figure, panels = new_figure(9.0, 3.8, columns=2)
    blocks = np.arange(1, len(drift.cosine) + 1)
    names = ("cosine distance (0 to 2)", "relative change (ratio of lengths)")
    for axes, values, name in zip(panels, (drift.cosine, drift.relative), names, strict=True):
        axes.plot(blocks, values, color=GRAY, linewidth=0.7, alpha=0.6)
        axes.plot(blocks, values.mean(1), color=BLUE, linewidth=2, marker="o", markersize=4)
        axes.set_ylabel(name)
        if values is drift.relative and (values > 0).all():
            axes.set_yscale("log")  # the first block multiplies, the later ones add a little
        else:
            axes.set_ylim(bottom=0)
        layer_axis(axes, blocks, "block: from layer k - 1 to layer k")
    caption = f"grey: single tokens (n = {len(drift.tokens)}) · blue: their mean"
    return finish(figure, f"“{drift.prompt}”", caption)
