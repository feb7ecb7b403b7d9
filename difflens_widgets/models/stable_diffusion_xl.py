"""Stable Diffusion XL: two CLIP text encoders, and a pooled vector of the whole prompt.

For each token the denoiser gets the states *before the last block* of both encoders, without a norm, concatenated on
the width axis (768 + 1280 in SDXL base). An encoder of N blocks has the layers 0..N-1; layer N-1 gives the stock
image. The state after block N is not a layer: the denoiser was never trained on it.

The lens examines one encoder. The other one returns its stock state, and the pooled vector (from the second encoder's
last block) is the stock one. So the images of a run differ in one thing only. An early layer's image may still show
the prompt, because the other encoder and the pooled vector contain it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .family import Family, TextEncoder
from .pipeline_state import dtype_restored


def _decode(pipe: Any, latents: Tensor) -> Tensor:
    vae, config = pipe.vae, pipe.vae.config
    # SDXL's own VAE overflows in float16; the stock pipeline also casts it to float32 and back
    upcast = vae.dtype == torch.float16 and config.get("force_upcast")
    with dtype_restored(vae, torch.float32 if upcast else None):
        latents = latents.to(vae.dtype)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is not None and std is not None:  # for example Playground 2.5
            mean, std = (latents.new_tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
            latents = latents * std / config.scaling_factor + mean
        else:
            latents = latents / config.scaling_factor
        return vae.decode(latents, return_dict=False)[0]


STABLE_DIFFUSION_XL = Family(
    pipeline_classes=("StableDiffusionXLPipeline",),
    encoders=(
        TextEncoder("text_encoder", "tokenizer", "encoder.layers", "final_layer_norm", reads=(-2,)),
        TextEncoder("text_encoder_2", "tokenizer_2", "encoder.layers", "final_layer_norm", reads=(-2,), pooled=True),
    ),
    decode=_decode,
    defaults=lambda pipe: {"num_inference_steps": 20, "guidance_scale": 7.5},
    requires=("text_encoder_2",),
)
