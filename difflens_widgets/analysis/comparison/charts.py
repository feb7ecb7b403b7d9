"""Which metrics of a comparison are drawn over the layers, and how they are labelled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chart:
    """One metric as the figure and the DiffViewer draw it.

    Attributes
    ----------
    name : str
        In code.
    label, unit : str
        For people.
    series : tuple of (label, name in `Comparison.metrics`)
        One pair for each line.
    itself : float or None
        The value of the raw model compared with itself; None where raw has a line of its own, or there is no such
        value.
    """

    name: str
    label: str
    unit: str
    series: tuple[tuple[str, str], ...]
    itself: float | None = None


CHARTS = (
    Chart("state_cosine", "State cosine", "cosine, −1 to 1", (("tuned", "state_cosine"),), 1.0),
    Chart("latent_rms", "Latent RMS", "rms, units of the latents", (("tuned", "latent_rms"),), 0.0),
    Chart("ssim", "SSIM", "SSIM, −1 to 1", (("tuned", "ssim"),), 1.0),
    Chart("judge", "Judge", "1: shows the prompt, 0: does not", (("raw", "judge_raw"), ("tuned", "judge_tuned"))),
    Chart(
        "attribution",
        "Attribution",
        "share of the change of the latents",
        (("encoder", "attribution_encoder"), ("U-Net", "attribution_unet"), ("both", "attribution_both")),
    ),
)
