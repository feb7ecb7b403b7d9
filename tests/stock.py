"""The stock pipeline's picture, which the lens has to give too."""

from __future__ import annotations

import numpy as np
import torch

PROMPT = "a red circle on a blue background"
STEPS = 4


def pixels(image: object) -> np.ndarray:
    return np.asarray(image).astype(int)


def assert_same_picture(ours: object, stock: object) -> None:
    """At most 1 of 255 apart for 99.9 % of the pixel values."""
    apart = np.abs(pixels(ours) - pixels(stock))
    assert np.quantile(apart, 0.999) <= 1, f"largest difference {apart.max()} of 255"


def stock_image(pipe: object, prompt: str | None = PROMPT, seed: int = 3, **options: object) -> object:
    options = {"num_inference_steps": STEPS, "guidance_scale": 5.0, **options}
    pipe.set_progress_bar_config(disable=True)
    return pipe(prompt, generator=torch.Generator().manual_seed(seed), **options).images[0]
