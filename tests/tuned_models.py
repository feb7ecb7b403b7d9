"""A tuned model for tests: a model's own weights, a little moved; all of it is real, only the training is not."""

from __future__ import annotations

from typing import Any

import torch


def perturbed(pipe: Any, *, encoder: float = 0.1, unet: float = 0.05, seed: int = 0) -> Any:
    """Move each matrix of text encoder and U-Net by normal noise of this share of its own spread; returns `pipe`."""
    noise = torch.Generator().manual_seed(seed)
    parts = [(pipe.text_encoder, encoder), (getattr(pipe, "text_encoder_2", None), encoder), (pipe.unet, unet)]
    with torch.no_grad():
        for part, amount in parts:
            for weight in part.parameters() if part is not None and amount else ():
                if weight.ndim > 1:
                    weight.add_(torch.randn(weight.shape, generator=noise).to(weight) * weight.std() * amount)
    return pipe
