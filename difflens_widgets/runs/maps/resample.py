"""Resamples maps with numpy."""

from __future__ import annotations

import numpy as np


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample `maps` (..., height, width) to a higher resolution, bilinear.

    No value gets negative, and maps that sum to 1 at each pixel still do.
    """
    if maps.shape[-2:] == size:
        return maps
    return _bilinear(maps.shape[-2], size[0]) @ maps @ _bilinear(maps.shape[-1], size[1]).T


def shrunk(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample `maps` (..., height, width) to a lower resolution: each pixel is the mean of the area it covers."""
    return _area(maps.shape[-2], size[0]) @ maps @ _area(maps.shape[-1], size[1]).T


def _bilinear(before: int, after: int) -> np.ndarray:
    """Weights (after, before) between pixel centers, rows sum to 1; the edge pixel is repeated outside."""
    centers = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(before)))


def _area(before: int, after: int) -> np.ndarray:
    """Weights (after, before), rows sum to 1: the part of each new pixel that an old one covers."""
    edges = np.arange(after + 1) * before / after
    old = np.arange(before)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.maximum(0, overlap) * after / before
