"""What a run records of how it was made."""

from __future__ import annotations

from typing import Any

import diffusers
import torch
import transformers

from .._version import __version__
from ..models import Conditioning
from .denoise import Denoising


def describe(
    conditioning: Conditioning, model: str, settings: Denoising, negative_prompt: str | None
) -> dict[str, Any]:
    """The settings of a run, as JSON can keep them."""
    pipe = conditioning.pipe
    passed_on = settings.cross_attention_kwargs or {}
    return {
        "model": model,
        "method": conditioning.question,
        "text_encoder": conditioning.encoder,
        "scheduler": type(pipe.scheduler).__name__,
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "negative_prompt": negative_prompt,
        "own_negative_embeds": settings.negative_prompt_embeds is not None,
        "num_inference_steps": settings.steps,
        "snapshots": sorted(settings.snapshots),
        "guidance_scale": settings.guidance_scale,
        "guidance_rescale": settings.guidance_rescale,
        "eta": settings.eta,
        "cross_attention_kwargs": {name: v for name, v in passed_on.items() if isinstance(v, str | int | float)},
        "height": settings.height,
        "width": settings.width,
        "batch_size": settings.batch_size,
        "own_latents": settings.latents is not None,
        "own_generator": isinstance(settings.seed, torch.Generator),
        "versions": {
            "difflens_widgets": __version__,
            **{package.__name__: str(package.__version__) for package in (torch, diffusers, transformers)},
        },
    }
