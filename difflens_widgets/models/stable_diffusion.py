"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, read after its final layer norm.

Layer k is the state after block k (0: the embeddings), with `final_layer_norm` applied. SD 2.x reads the state before
the last block of OpenCLIP-H. Its diffusers weights do not contain that block, so its layers are 0..23, and it needs no
declaration of its own.
"""

from __future__ import annotations

from .family import Family, TextEncoder
from .latents import decode_scaled

STABLE_DIFFUSION = Family(
    pipeline_classes=("StableDiffusionPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "encoder.layers", "final_layer_norm", normed=True),),
    decode=decode_scaled,
    defaults=lambda pipe: {"num_inference_steps": 20, "guidance_scale": 7.5},
    negative_embeds=True,
)
