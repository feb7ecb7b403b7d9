"""How much training changed the result of a prompt: layer by layer, against epoch 0, from the same noise. No torch.

Each metric is 0 where nothing changed, grows with the change, and is NaN where a layer has nothing to compare.
"""

from __future__ import annotations

import numpy as np

from ...analysis.ssim import WINDOW, ssim
from ...runs.run import LensRun

METRICS = {
    "cosine_distance": "states: mean cosine distance over the tokens of the words and the end, 0..2",
    "latent_rms": "latents: root mean square of the change, in the units of the pipeline's latents",
    "ssim_distance": "images: 1 − SSIM, 0..2",
}
_SSIM_SIDE = 256  # pixels: the authors of SSIM recommend to scale larger images down to about this


def training_drift(first: LensRun, later: LensRun) -> dict[str, np.ndarray]:
    """Compare two runs of one prompt and seed by every metric.

    Parameters
    ----------
    first, later : LensRun
        Before training, and at a later epoch.

    Returns
    -------
    dict of metric → float64 array (layers,)
        For the layers of `first` in ascending order.
    """
    layers = sorted(first.layers)
    return {
        "cosine_distance": _cosine_distance(first, later, layers),
        "latent_rms": np.array([latent_rms(first.latents.get(k), later.latents.get(k)) for k in layers]),
        "ssim_distance": np.array([_ssim_distance(first, later, layer) for layer in layers]),
    }


def unknown_drift(layers: int) -> dict[str, np.ndarray]:
    """What `training_drift` returns for `layers` layers if there is nothing to compare: NaN everywhere."""
    return {name: np.full(layers, np.nan) for name in METRICS}


def latent_rms(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Root mean square of the difference of two latents; NaN if one is missing or their shapes differ."""
    if a is None or b is None or a.shape != b.shape:
        return float("nan")
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def _cosine_distance(first: LensRun, later: LensRun, layers: list[int]) -> np.ndarray:
    if first.states is None or later.states is None or first.states.shape != later.states.shape:
        return np.full(len(layers), np.nan)
    positions = [token.index for token in first.tokens if token.kind in ("word", "eos")]
    a, b = (_directions(run.states[layers][:, positions]) for run in (first, later) if run.states is not None)
    # half the squared distance of unit vectors is 1 − cosine, and exactly 0 for equal ones
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
