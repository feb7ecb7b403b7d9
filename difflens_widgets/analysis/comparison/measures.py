"""How far two models are apart, layer by layer, when both paint one prompt from the same noise. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...runs.run import LensRun
from ..ssim import WINDOW, ssim
from ..states import cosine

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """One measure as it is drawn over the layers.

    Attributes
    ----------
    name, label, unit
        What it is called in code, by people, and what its numbers are.
    series : of each line its label and the name in `Comparison.metrics`
    itself : what the raw model has when it is compared with itself; None where raw has a line of its own, or no value
    """

    name: str
    label: str
    unit: str
    series: tuple[tuple[str, str], ...]
    itself: float | None = None


CHARTS = (
    Chart("state_cosine", "State cosine", "cosine, −1 to 1", (("tuned", "state_cosine"),), 1.0),
    Chart("latent_distance", "Latent distance", "rms, units of the latents", (("tuned", "latent_distance"),), 0.0),
    Chart("ssim", "SSIM", "SSIM, −1 to 1", (("tuned", "ssim"),), 1.0),
    Chart("judge", "Judge", "1: shows the prompt, 0: does not", (("raw", "judge_raw"), ("tuned", "judge_tuned"))),
    Chart(
        "attribution",
        "Attribution",
        "share of the change of the latents",
        (("encoder", "attribution_encoder"), ("U-Net", "attribution_unet"), ("both", "attribution_both")),
    ),
)


def state_cosines(raw: npt.ArrayLike, tuned: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Cosine of the two models' states, (layer, token), from states (layer, token, width).

    Raises
    ------
    ValueError
        If the states have different shapes.
    """
    a, b = np.asarray(raw), np.asarray(tuned)
    if a.shape != b.shape:
        raise ValueError(f"states: those of tuned have the shape {b.shape}, expected that of raw, {a.shape}")
    return cosine(a, b).astype(np.float32)


def latent_distance(raw: LensRun, tuned: LensRun, layers: Sequence[int]) -> Values:
    """Root mean square difference of the final latents; NaN where one has none."""

    def distance(layer: int) -> float:
        a, b = raw.latents[layer].astype(np.float64), tuned.latents[layer]
        return float(np.sqrt(np.mean((b - a) ** 2)))

    return _by_layer(layers, (raw.latents, tuned.latents), distance)


def picture_ssim(raw: LensRun, tuned: LensRun, layers: Sequence[int]) -> Values:
    """SSIM of the pictures; NaN where one is missing, or they are smaller than the window."""

    def alike(layer: int) -> float:
        a, b = raw.images[layer], tuned.images[layer]
        return ssim(a.convert("RGB"), b.convert("RGB")) if min(a.size) >= WINDOW else float("nan")

    return _by_layer(layers, (raw.images, tuned.images), alike)


def picture_difference(raw: Image.Image, tuned: Image.Image) -> npt.NDArray[np.float32]:
    """How far each pixel is apart, 0..255, (height, width): the mean over red, green and blue."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (raw, tuned))
    return np.abs(b - a).mean(-1, dtype=np.float32)


def attribution(raw: LensRun, encoder: LensRun, unet: LensRun, tuned: LensRun, layers: Sequence[int]) -> list[Values]:
    """How much of the change of the latents comes from the encoder, from the U-Net, and from both only together.

    Of x(encoder, U-Net), the latents: the encoder's part is x(tuned, raw) - x(raw, raw), the U-Net's
    x(raw, tuned) - x(raw, raw), and what is left to x(tuned, tuned) - x(raw, raw) neither does alone. Each part's share
    is its projection on the whole change, in units of the whole: the three sum to 1. A share may be negative (that part
    alone goes the other way) or above 1.

    Returns
    -------
    list of three float64 arrays, encoder, U-Net, both; NaN where a latent is missing or nothing changed
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


def _by_layer(layers: Sequence[int], needed: Sequence[dict], measure: Callable[[int], float]) -> Values:
    there = [all(layer in each for each in needed) for layer in layers]
    return np.array(
        [measure(k) if known else float("nan") for k, known in zip(layers, there, strict=True)], dtype=float
    )
