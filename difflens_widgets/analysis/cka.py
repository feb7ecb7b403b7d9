"""Linear CKA: how similar two sets of states are as a whole, up to rotation and scale.

Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..runs.tokens import Kind
from .axes import LAYER_LABEL, finish, layer_axis, new_figure
from .states import HasStates, positions_of, states_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CKA(NamedTuple):
    """A value of linear CKA, and the number of rows that it was computed from."""

    value: float
    n: int


def linear_cka(x: np.ndarray, y: np.ndarray, *, debiased: bool = False) -> CKA:
    """Compare two representations of the same n things.

    With centered columns, CKA = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms: 1 if they are the same up to rotation and
    scale. This estimate is biased: two sets of unrelated noise give about d / (n + d), near 1 if n is small compared
    with the width d. So there is a warning for n ≤ d. Rows that resemble each other (tokens of one prompt) count for
    less than n.

    Parameters
    ----------
    x, y : float arrays (n, d) and (n, e)
        Row i of both belongs to the same thing.
    debiased : bool
        Use the unbiased estimate of HSIC (Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, as
        in Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021): about 0 for unrelated noise,
        for any n ≥ 4; may be a little below 0.

    Returns
    -------
    CKA
        `value`, 0..1, and `n`.

    Raises
    ------
    ValueError
        If the shapes do not fit, n is too small, values are not finite, or all rows of `x` or `y` are equal.
    """
    x, y = _centered("x", x), _centered("y", y)
    n = len(x)
    if n != len(y):
        raise ValueError(f"x and y: expected the same number of rows, of the same things; got {n} and {len(y)}")
    _check_rows(n, max(x.shape[1], y.shape[1]), debiased)
    lengths = _hsic(x, x, debiased) * _hsic(y, y, debiased)
    return CKA(_hsic(x, y, debiased) / np.sqrt(lengths).item(), n)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class LayerCKA:
    """Linear CKA of each layer with each other.

    Attributes
    ----------
    matrix : float64 array (num_layers, num_layers)
    n : int
        Number of pooled tokens.
    width : int
        Of a state; unless `debiased`, n should be well above it.
    prompts : int
    debiased : bool
    """

    matrix: np.ndarray
    n: int
    width: int
    prompts: int
    debiased: bool

    def plot(self) -> Figure:
        """Draw the matrix, layer by layer."""
        return plot_cka(self)


def layer_cka(
    runs: Iterable[HasStates], kinds: Kind | Iterable[Kind] = ("word",), *, debiased: bool = False
) -> LayerCKA:
    """Compute linear CKA between the layers of one text encoder, over the tokens of many prompts.

    Parameters
    ----------
    runs : iterable of LensRun or TokenStates
        Of one model: `[read_states(lens, prompt) for prompt in prompts]` needs no painting.
    kinds : "bos", "word", "eos", "pad", or several
        Which tokens. The start token is the same in all prompts, so it cannot be compared alone.
    debiased : bool
        As for `linear_cka`, which also explains n.

    Raises
    ------
    ValueError, TypeError
        If there are no runs, they differ in layers or width, have no such tokens, or all tokens of a layer are equal.
    """
    runs = _several(runs)
    kinds = kinds if isinstance(kinds, str) else list(kinds)  # an iterator is read once for each run
    parts = [states_at(run, positions_of(run, kinds)) for run in runs]
    shapes = {(len(part), part.shape[2]) for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"runs: expected one model; got (layers, width) of {sorted(shapes)}")
    pooled = np.concatenate(parts, axis=1)
    layers, n, width = pooled.shape
    _check_rows(n, width, debiased)
    centered = [_centered(f"layer {layer}", states) for layer, states in enumerate(pooled)]
    hsic = np.empty((layers, layers))
    for i in range(layers):
        for j in range(i + 1):
            hsic[i, j] = hsic[j, i] = _hsic(centered[i], centered[j], debiased)
    scale = np.sqrt(np.diag(hsic))
    return LayerCKA(hsic / np.outer(scale, scale), n, width, len(runs), debiased)


def plot_cka(cka: LayerCKA) -> Figure:
    """Draw the matrix of linear CKA, layer by layer."""
    figure, (axes,) = new_figure(5.4, 5.2)
    image = axes.imshow(cka.matrix, origin="lower", vmin=min(0.0, float(cka.matrix.min())), vmax=1, cmap="viridis")
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("linear CKA (1: same up to rotation and scale)")
    layers = np.arange(len(cka.matrix))
    layer_axis(axes, layers, LAYER_LABEL)
    axes.set_yticks(axes.get_xticks())
    axes.set_ylabel("layer")
    kind = "unbiased estimate" if cka.debiased else "biased estimate"
    few = "" if cka.debiased or cka.n > cka.width else " (too few tokens: n ≤ width)"
    caption = f"n = {cka.n} tokens of {cka.prompts} prompts, width {cka.width} · {kind}{few}"
    return finish(figure, "Linear CKA between layers", caption)


def _several(runs: Iterable[HasStates]) -> Sequence[HasStates]:
    if not isinstance(runs, Iterable):
        raise TypeError("runs: expected several, got one; CKA needs the tokens of many prompts")
    found = list(runs)
    if not found:
        raise ValueError("runs: empty; give the runs of some prompts")
    return found


def _centered(name: str, states: np.ndarray) -> np.ndarray:
    states = np.asarray(states, dtype=np.float64)
    if states.ndim != 2:
        raise ValueError(f"{name}: expected the shape (n, d), got {states.shape}")
    if not np.isfinite(states).all():
        raise ValueError(f"{name}: some values are NaN or infinite")
    if (states == states[:1]).all():
        raise ValueError(f"{name}: all rows are equal, so CKA is not defined")
    return states - states.mean(0)


def _check_rows(n: int, width: int, debiased: bool) -> None:
    if debiased and n < 4:
        raise ValueError(f"n: the unbiased estimate needs at least 4 rows, got {n}")
    if not debiased and n <= width:
        warnings.warn(
            f"linear CKA of n = {n} rows of width {width}: biased towards 1; take more prompts, or debiased=True",
            stacklevel=3,
        )


def _hsic(x: np.ndarray, y: np.ndarray, debiased: bool) -> float:
    """HSIC of the linear kernels of centered `x` and `y`, up to a factor that cancels in CKA.

    Unbiased: Song et al. 2012, equation 5, with the (n, n) kernels multiplied out; with centered columns it is short.
    """
    tall = len(x) > x.shape[1]  # both give the same number; take the one with fewer multiplications
    biased = float(np.sum((x.T @ y) ** 2 if tall else (x @ x.T) * (y @ y.T)))
    if not debiased:
        return biased
    n, of_x, of_y = len(x), (x**2).sum(1), (y**2).sum(1)  # the kernels' diagonals
    return biased - (n / (n - 2)) * float(of_x @ of_y) + float(of_x.sum() * of_y.sum()) / ((n - 1) * (n - 2))
