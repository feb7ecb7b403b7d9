"""SSIM: how alike two pictures are in light, contrast and structure.

Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
Transactions on Image Processing 13 (2004): Gaussian window of 11 pixels (σ 1.5), K1 0.01, K2 0.03, on luminance, and
as its authors advise on pictures brought down to about 256 pixels a side.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SIDE = 256


def ssim(a: Image.Image, b: Image.Image) -> float:
    """Mean structural similarity, at most 1; exactly 1 for equal pictures.

    Raises
    ------
    ValueError
        If they differ in size, or are smaller than 11 pixels a side.
    """
    if a.size != b.size:
        raise ValueError(f"pictures: {a.size} and {b.size} differ in size, two of one size would be right")
    x, y = _luminance(a), _luminance(b)
    if min(x.shape) < _WINDOW:
        raise ValueError(f"pictures: {a.size} is too small, at least {_WINDOW} pixels a side would be right")
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x * mean_x
    var_y = _blurred(y * y) - mean_y * mean_y
    both = _blurred(x * y) - mean_x * mean_y
    like = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    return float((like / ((mean_x * mean_x + mean_y * mean_y + _C1) * (var_x + var_y + _C2))).mean())


def _luminance(image: Image.Image) -> np.ndarray:
    grey = image.convert("L")
    factor = max(1, round(min(grey.size) / _SIDE))
    return np.asarray(grey.reduce(factor) if factor > 1 else grey, dtype=np.float64)


def _blurred(values: np.ndarray) -> np.ndarray:
    """Weighted means over the window, where all of it lies on the picture."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        values = np.lib.stride_tricks.sliding_window_view(values, _WINDOW, axis) @ weights
    return values
