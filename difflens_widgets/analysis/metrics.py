"""Numbers that compare two runs of one prompt, layer by layer; one name for one quantity. Needs no torch.

============== ======================================================== ==============================
name           what                                                     unit and range
============== ======================================================== ==============================
`state_cosine` cosine of two states of one token                        -1..1; 1: same direction
`latent_rms`   root mean square of the difference of two final latents  units of the latents, ≥ 0
`ssim`         structural similarity of two pictures (`picture_ssim`)   -1..1; 1: equal
============== ======================================================== ==============================

`analysis.comparison` takes them between two models, `dreambooth.history` between two epochs. A value is NaN where one
of the two runs has nothing to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..runs.record import RunRecord
from .ssim import WINDOW, ssim
from .states import cosine

_SSIM_SIDE = 256  # pixels

Values = npt.NDArray[np.float64]


def state_cosine(a: npt.ArrayLike, b: npt.ArrayLike) -> Values:
    """Cosine of two runs' states, token by token.

    Parameters
    ----------
    a, b : float arrays (layer, token, width)

    Returns
    -------
    float64 array (layer, token)
        -1..1; exactly 1 for equal states, NaN where a state has length zero.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"states: those of tuned have the shape {b.shape}, expected that of raw, {a.shape}")
    return cosine(a, b)


def latent_rms(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Root mean square of the difference of two pictures' latents, in the units of the latents.

    NaN where one is missing (None) or their shapes differ.
    """
    if a is None or b is None or a.shape != b.shape:
        return float("nan")
    return float(np.sqrt(np.mean((b.astype(np.float64) - a) ** 2)))


def picture_ssim(a: Image.Image | None, b: Image.Image | None) -> float:
    """Structural similarity of two pictures, -1..1 (Wang et al. 2004; mean over red, green and blue).

    Larger pictures are first reduced by the whole factor that brings their shorter side to about 256 pixels, as the
    authors of SSIM advise. This is so wherever this package says SSIM.

    Parameters
    ----------
    a, b : PIL.Image or None

    Returns
    -------
    float
        NaN where one is missing, their sizes differ, or they are smaller than the window of 11 pixels.
    """
    if a is None or b is None or a.size != b.size or min(a.size) < WINDOW:
        return float("nan")
    factor = max(1, round(min(a.size) / _SSIM_SIDE))
    return ssim(a.convert("RGB").reduce(factor), b.convert("RGB").reduce(factor))


def picture_difference(a: Image.Image, b: Image.Image) -> npt.NDArray[np.float32]:
    """Absolute difference of each pixel, 0..255: float32 (height, width), the mean over red, green and blue."""
    values_a, values_b = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (a, b))
    return np.abs(values_b - values_a).mean(-1, dtype=np.float32)


def attribution(
    raw: RunRecord, encoder: RunRecord, unet: RunRecord, tuned: RunRecord, layers: Sequence[int]
) -> list[Values]:
    """Share out the change of the latents between the text encoder, the U-Net, and the two of them together.

    With x(encoder, U-Net) the final latents, the encoder's part is x(tuned, raw) - x(raw, raw), the U-Net's part is
    x(raw, tuned) - x(raw, raw), and the rest of the whole change x(tuned, tuned) - x(raw, raw) needs both. The share
    of a part is its projection on the whole change, divided by the whole: the three sum to 1. A share may be negative
    (this part alone goes the other way) or greater than 1.

    Parameters
    ----------
    raw, encoder, unet, tuned : LensRun
        The raw model; only the encoder tuned; only the U-Net tuned; both tuned.
    layers : sequence of int

    Returns
    -------
    list of three float64 arrays (layer,)
        Encoder, U-Net, both; NaN where a run has no latents, or nothing changed.
    """
    runs = (raw, encoder, unet, tuned)

    def shares(layer: int) -> tuple[float, ...]:
        start, by_encoder, by_unet, end = (run.latents[layer].astype(np.float64) for run in runs)
        whole = end - start
        size = float((whole**2).sum())
        parts = (by_encoder - start, by_unet - start, end - by_encoder - by_unet + start)
        return tuple(float((part * whole).sum() / size) if size else float("nan") for part in parts)

    known = {layer: shares(layer) for layer in layers if all(layer in run.latents for run in runs)}
    nothing = (float("nan"),) * 3
    return [np.array([known.get(layer, nothing)[part] for layer in layers]) for part in range(3)]
