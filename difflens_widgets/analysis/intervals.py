"""95 % intervals: of a share, of a median of layers, and of a mean."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_RESAMPLES = 2000
# the 97.5 % quantiles of Student's t for 1, 2, ... 30 degrees of freedom
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of the share `right` / `n` (Wilson 1927).

    It assumes that the `n` trials are independent; pictures of one prompt from several seeds are not fully so.
    """
    if n == 0:
        return 0.0, 1.0
    p = right / n
    center, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)
    return max(0.0, low), min(1.0, high)


class Median(NamedTuple):
    """A median and its 95 % interval; infinite where it is greater than all observed values."""

    value: float
    low: float
    high: float


def median_interval(values: np.ndarray, seed: int = 0) -> Median:
    """Median of all values, with a bootstrap interval that resamples whole rows (Efron & Tibshirani 1993, percentiles).

    Parameters
    ----------
    values : float array (prompts, seeds)
        Infinite where nothing was observed ("never"): a median needs only the order. Rows are drawn as a whole because
        pictures of one prompt are similar.
    seed : int
        Of the resampling.

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


class Mean(NamedTuple):
    """A mean and its 95 % interval, each a float64 array of the remaining axes."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(values: npt.ArrayLike) -> Mean:
    """Mean over the first axis, with Student's t interval: for few values, where a bootstrap interval is too narrow.

    Parameters
    ----------
    values : float array (n, ...)
        The rows are independent, such as trainings from several seeds; average values that are not before the call.

    Returns
    -------
    Mean
        NaN for the ends of the interval where n is 1.

    Raises
    ------
    ValueError
        If there are no values.
    """
    array = np.asarray(values, dtype=float)
    if not array.ndim or not len(array):
        raise ValueError(f"values: expected at least one row, got the shape {array.shape}")
    n, mean = len(array), array.mean(0)
    if n == 1:
        return Mean(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    half = _t_quantile(n - 1) * array.std(0, ddof=1) / math.sqrt(n)
    return Mean(mean, mean - half, mean + half)


def _t_quantile(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.959964  # Cornish–Fisher, here right to the fourth decimal
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
