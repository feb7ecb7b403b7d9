"""A mask over a picture, read and checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .plan import Plan


def read_mask(mask: npt.ArrayLike, plan: Plan) -> np.ndarray:
    """`mask` as float64 0..1, of the size of the picture or of its latents.

    Raises
    ------
    ValueError, TypeError
        If it has another size or other values.
    """
    inside = np.asarray(mask)
    picture = (plan.height, plan.width)
    if inside.shape not in (picture, plan.grid):
        raise ValueError(
            f"mask: the shape is {inside.shape}; it must be the picture's, {picture}, or the latents', "
            f"{plan.grid}, as (height, width)"
        )
    if inside.dtype.kind not in "buif":
        raise TypeError(f"mask: expected bool or numbers 0..1, got {inside.dtype}")
    inside = inside.astype(np.float64)
    if not ((inside >= 0) & (inside <= 1)).all():
        raise ValueError("mask: the values must be 0..1 (a picture's 0..255 is divided by 255)")
    return inside
