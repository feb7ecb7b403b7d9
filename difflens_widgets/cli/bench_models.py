"""The models that `difflens bench` measures: any that the lens loads, and one with random weights."""

from __future__ import annotations

from typing import Any

import torch

from ..lens.diffusion_lens import DiffusionLens
from ..models.loading import WEIGHTS, device_of

SD15_RANDOM = "sd15-random"
"""The geometry of Stable Diffusion 1.5 with random weights: for speed and memory, without a download."""


def open_lens(model: str, device: str | None = None) -> DiffusionLens:
    """The lens on a model: `SD15_RANDOM`, or any that `DiffusionLens.from_pretrained` takes.

    Raises
    ------
    ValueError
        If the device is not there.
    OSError
        If the model cannot be loaded.
    """
    if model != SD15_RANDOM:
        return DiffusionLens.from_pretrained(model, device=device)
    place = device_of(device)
    return DiffusionLens(sd15_random(place, torch.float16 if place.type == "cuda" else torch.float32), model=model)


def require_files(model: str) -> None:
    """Refuse `SD15_RANDOM` where a model is loaded by its name, as trainings and the workers of a sweep do."""
    if model == SD15_RANDOM:
        raise ValueError(f"--model: {SD15_RANDOM} has no files; `difflens bench lens` and `attention` take it")


def sd15_random(device: torch.device, dtype: torch.dtype) -> Any:
    """A StableDiffusionPipeline with 1066 million random weights, always the same on a device.

    Only its tokenizer is the embedded model's, which splits a prompt into other tokens; there are 77 as well.
    """
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.device(device):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
        vae = AutoencoderKL(
            down_block_types=down,
            up_block_types=up,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            sample_size=512,
        )
        text = CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
        )
        text_encoder = CLIPTextModel(text)
    for part in (unet, vae, text_encoder):
        part.to(dtype).eval()
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer"),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
