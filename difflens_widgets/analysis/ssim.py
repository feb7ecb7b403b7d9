"""SSIM: structural similarity of two pictures. Needs only numpy.

Wang, Bovik, Sheikh & Simoncelli, "Image quality assessment: from error visibility to structural similarity", IEEE
Transactions on Image Processing 13 (2004): local means, variances and covariance under a Gaussian window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

WINDOW = 11
"""Side of the window in pixels; smaller pictures have no SSIM."""
_SIGMA = 1.5  # pixels
_RANGE = 255.0
_C1, _C2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2  # K1 and K2 of the paper: keep dark, flat regions stable


def ssim(a: Image.Image | npt.ArrayLike, b: Image.Image | npt.ArrayLike) -> float:
    """Structural similarity of two pictures.

    Parameters
    ----------
    a, b : PIL.Image or array (height, width) or (height, width, channels)
        Values 0..255, of one size, at least 11 × 11 pixels.

    Returns
    -------
    float
        -1..1; 1 only for equal pictures. The mean over all positions where the whole window fits, and over the
        channels: the paper uses luminance alone, which does not notice one color exchanged for an equally bright one.

    Raises
    ------
    ValueError
        If the pictures differ in size, or are smaller than the window.
    """
    return float(ssim_map(a, b).mean())


def ssim_map(a: Image.Image | npt.ArrayLike, b: Image.Image | npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The SSIM of each window: (height - 10, width - 10), and channels where the pictures have some."""
    x, y = _values(a), _values(b)
    if x.shape != y.shape:
        raise ValueError(f"b: has the shape {y.shape}, expected that of a, {x.shape}")
    if x.ndim not in (2, 3) or min(x.shape[:2]) < WINDOW:
        raise ValueError(f"a: has the shape {x.shape}, expected a picture of at least {WINDOW} × {WINDOW} pixels")
    mean_x, mean_y = _windowed(x), _windowed(y)
    # one formula for both, so that equal pictures have a covariance that equals their variance to the bit
    variances = _windowed(x * x) - mean_x * mean_x + (_windowed(y * y) - mean_y * mean_y)
    covariance = _windowed(x * y) - mean_x * mean_y
    means = mean_x * mean_x + mean_y * mean_y
    return (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2) / ((means + _C1) * (variances + _C2))


def _values(picture: Image.Image | npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(picture, dtype=np.float64)


def _windowed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaussian mean around each pixel that is far enough from the edge, one axis after the other."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    height, width = values.shape[0] - WINDOW + 1, values.shape[1] - WINDOW + 1
    down = sum(weight * values[i : i + height] for i, weight in enumerate(weights))
    return np.asarray(sum(weight * down[:, i : i + width] for i, weight in enumerate(weights)))
