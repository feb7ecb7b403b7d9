"""Reads and checks a mask over an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .plan import Plan


def read_mask(mask: npt.ArrayLike, plan: Plan) -> np.ndarray:
    """Convert a mask to a float64 array (height, width) with values 0..1.

    Parameters
    ----------
    mask : array of bool, or of numbers 0..1
        In the size of the image or of its latents.
    plan : Plan
        Of the maps that the mask is for.

    Raises
    ------
    ValueError, TypeError
        If it has another size or other values.
    """
    inside = np.asarray(mask)
    image = (plan.height, plan.width)
    if inside.shape not in (image, plan.grid):
        raise ValueError(
            f"mask: the shape is {inside.shape}; it must be the picture's, {image}, or the latents', "
            f"{plan.grid}, as (height, width)"
        )
    if inside.dtype.kind not in "buif":
        raise TypeError(f"mask: expected bool or numbers 0..1, got {inside.dtype}")
    inside = inside.astype(np.float64)
    if not ((inside >= 0) & (inside <= 1)).all():
        raise ValueError("mask: the values must be 0..1 (a picture's 0..255 is divided by 255)")
    return inside
