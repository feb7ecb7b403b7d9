"""A safety checker in miniature: diffusers' own class on a small CLIP with random weights, and a threshold to set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from diffusers.pipelines.stable_diffusion.safety_checker import cosine_distance
from transformers import BatchFeature, CLIPConfig

from pipelines import small_pipeline

SIDE = 32


def feature_extractor(images: list[Any], return_tensors: str) -> BatchFeature:
    """What CLIP's image processor does to pictures of its own size."""
    pixels = np.stack([np.asarray(image.resize((SIDE, SIDE)), np.float32) / 127.5 - 1 for image in images])
    return BatchFeature({"pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2)}, tensor_type=return_tensors)


def small_checker() -> StableDiffusionSafetyChecker:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**sizes, "image_size": SIDE, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8)).eval()
    with torch.no_grad():
        checker.concept_embeds.copy_(torch.randn_like(checker.concept_embeds))
    flag_above(checker, 2.0)
    return checker


def flag_above(checker: StableDiffusionSafetyChecker, cosine: float) -> None:
    """Flag the images whose cosine with the first concept is above this; a cosine is -1..1."""
    with torch.no_grad():
        checker.special_care_embeds_weights.fill_(2.0)
        checker.concept_embeds_weights.fill_(2.0)
        checker.concept_embeds_weights[0] = cosine


@torch.no_grad()
def cosine_of(checker: StableDiffusionSafetyChecker, image: Any) -> float:
    pixels = feature_extractor([image], "pt").pixel_values
    embeds = checker.visual_projection(checker.vision_model(pixels)[1])
    return float(cosine_distance(embeds, checker.concept_embeds)[0, 0])


def checked_pipeline(scheduler: Any = DDIMScheduler, **options: Any) -> Any:
    """SD 1.x in miniature with a safety checker that flags nothing yet."""
    pipe = small_pipeline(scheduler, **options)
    pipe.safety_checker, pipe.feature_extractor = small_checker(), feature_extractor
    return pipe
