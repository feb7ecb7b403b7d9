"""How much training changed the result of a prompt: layer by layer, against epoch 0, from the same noise. No torch.

Each metric is 0 where nothing changed, grows with the change, and is NaN where a layer has nothing to compare.
"""

from __future__ import annotations

import numpy as np

from ...analysis.metrics import latent_rms, picture_ssim, state_cosine
from ...runs.run import LensRun

METRICS = {
    "cosine_distance": "states: mean cosine distance over the tokens of the words and the end, 0..2",
    "latent_rms": "latents: root mean square of the change, in the units of the pipeline's latents",
    "ssim_distance": "images: 1 − SSIM, 0..2",
}


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
    blacked_out = first.flagged | later.flagged
    shown = [-1 if k in blacked_out else k for k in layers]  # -1: nothing to compare
    return {
        "cosine_distance": _cosine_distance(first, later, layers),
        "latent_rms": np.array([latent_rms(first.latents.get(k), later.latents.get(k)) for k in shown]),
        "ssim_distance": np.array([1 - picture_ssim(first.images.get(k), later.images.get(k)) for k in shown]),
    }


def unknown_drift(layers: int) -> dict[str, np.ndarray]:
    """What `training_drift` returns for `layers` layers if there is nothing to compare: NaN everywhere."""
    return {name: np.full(layers, np.nan) for name in METRICS}


def _cosine_distance(first: LensRun, later: LensRun, layers: list[int]) -> np.ndarray:
    if first.states is None or later.states is None or first.states.shape != later.states.shape:
        return np.full(len(layers), np.nan)
    positions = [token.index for token in first.tokens if token.kind in ("word", "eos")]
    a, b = (run.states[layers][:, positions] for run in (first, later) if run.states is not None)
    return 1 - state_cosine(a, b).mean(-1)
