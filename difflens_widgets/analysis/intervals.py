"""How sure a number is: an interval for a share, and one for a median of layers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_RESAMPLES = 2000


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    It takes the `n` trials as independent; pictures of one prompt from several seeds are not quite.
    """
    if n == 0:
        return 0.0, 1.0
    p = right / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, low), min(1.0, high)


class Median(NamedTuple):
    """A median and its 95 % interval; infinite where it is beyond all that was observed."""

    value: float
    low: float
    high: float


def median_interval(values: np.ndarray, seed: int = 0) -> Median:
    """Median of all values, with a bootstrap interval that draws whole rows (Efron & Tibshirani 1993, percentiles).

    Parameters
    ----------
    values : float array (prompts, seeds)
        Infinite where nothing was observed ("never"): a median needs only the order. A row is drawn as a whole,
        because pictures of one prompt are alike.
    seed : int
        Of the drawing.

    Raises
    ------
    ValueError
        If there are no values.
    """
    if values.ndim != 2 or not values.size:
        raise ValueError(f"values: expected (prompts, seeds) with at least one of each, got the shape {values.shape}")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    medians = np.median(values[drawn].reshape(_RESAMPLES, -1), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")  # no arithmetic with infinity
    return Median(float(np.median(values)), float(low), float(high))
