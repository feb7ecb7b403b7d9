"""How far training has moved what a prompt becomes: layer by layer, against epoch 0, with the same noise. No torch.

All measures are 0 where nothing changed and grow with the change, and NaN where a layer has nothing to compare.
"""

from __future__ import annotations

import numpy as np

from ...analysis.ssim import WINDOW, ssim
from ...runs.run import LensRun

MEASURES = {
    "cosine_distance": "states: mean cosine distance over the tokens of words and end, 0..2",
    "latent_rms": "latents: root mean square of the change, in the units of the pipeline's latents",
    "ssim_distance": "pictures: 1 − SSIM, 0..2",
}
_SSIM_SIDE = 256  # pixels: the paper's authors advise to bring larger pictures down to about this


def between(first: LensRun, later: LensRun) -> dict[str, np.ndarray]:
    """Every measure for every layer.

    Parameters
    ----------
    first, later : LensRun
        Of one prompt and seed.

    Returns
    -------
    dict of measure → float64 array (layers,)
        For the layers of `first`, from the embedding on.
    """
    layers = sorted(first.layers)
    return {
        "cosine_distance": _cosine_distance(first, later, layers),
        "latent_rms": np.array([latent_rms(first.latents.get(k), later.latents.get(k)) for k in layers]),
        "ssim_distance": np.array([_ssim_distance(first, later, layer) for layer in layers]),
    }


def unknown(layers: int) -> dict[str, np.ndarray]:
    """What `between` gives for so many layers of which nothing is known."""
    return {name: np.full(layers, np.nan) for name in MEASURES}


def latent_rms(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Root mean square of the difference of two pictures' latents; NaN where one is missing or of another size."""
    if a is None or b is None or a.shape != b.shape:
        return float("nan")
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def _cosine_distance(first: LensRun, later: LensRun, layers: list[int]) -> np.ndarray:
    if first.states is None or later.states is None or first.states.shape != later.states.shape:
        return np.full(len(layers), np.nan)
    places = [token.index for token in first.tokens if token.kind in ("word", "eos")]
    a, b = (_directions(run.states[layers][:, places]) for run in (first, later) if run.states is not None)
    # half the squared distance of the directions is 1 − cosine, exactly 0 for equal ones
    return ((a - b) ** 2).sum(-1).mean(-1) / 2


def _directions(states: np.ndarray) -> np.ndarray:
    states = states.astype(np.float64)
    lengths = np.linalg.norm(states, axis=-1, keepdims=True)
    return np.divide(states, lengths, out=np.full_like(states, np.nan), where=lengths > 0)


def _ssim_distance(first: LensRun, later: LensRun, layer: int) -> float:
    a, b = first.images.get(layer), later.images.get(layer)
    if a is None or b is None or a.size != b.size or min(a.size) < WINDOW:
        return float("nan")
    factor = max(1, round(min(a.size) / _SSIM_SIDE))
    return 1 - ssim(a.convert("RGB").reduce(factor), b.convert("RGB").reduce(factor))
