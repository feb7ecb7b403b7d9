"""The quality of a run: "exact" is the stock image, "draft" the same image with fewer denoising steps."""

from __future__ import annotations

from typing import Any, Literal

Quality = Literal["exact", "draft"]
QUALITIES: tuple[Quality, ...] = ("exact", "draft")

_SHARE = 0.3
"""Of the steps that a draft takes: the embedded model's 20 become 6.

Measured on it, 24 prompts, last layer, against 20 steps: 6 steps take 0.30 of the time, SSIM 0.93 (median); 5 steps
0.91; 10 steps 0.98. At the same time as 6 steps with guidance in all of them: 7 steps with guidance in the first 5 have
0.90, 8 with guidance in the first 4 have 0.87, 8 that reuse the guidance of others have 0.86, 6 of UniPC 0.90.
"""


def require_quality(value: Any) -> Quality:
    """Raise a ValueError unless `value` is one of `QUALITIES`."""
    if value not in QUALITIES:
        raise ValueError(f"quality: {value!r} is none of {', '.join(map(repr, QUALITIES))}")
    quality: Quality = value
    return quality


def steps_of(quality: Quality, num_inference_steps: int) -> int:
    """The denoising steps of a run of this quality, where the exact image takes `num_inference_steps`."""
    return num_inference_steps if quality == "exact" else max(1, round(_SHARE * num_inference_steps))
