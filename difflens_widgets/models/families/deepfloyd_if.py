"""DeepFloyd IF, stage 1: T5 alone, in pixels; the second model of the paper (Toker et al., 2024).

The U-Net gets T5's last state, after the final norm, for 77 positions; T5 has a mask for the padding, the U-Net none.
Layer k is the state after block k of 24 (0: the embeddings), normed as the last one is.
It denoises pixels: the "latents" of a run are the 64 × 64 picture itself, and start latents cannot be given.
Nothing else of the prompt reaches the U-Net, as with CLIP in Stable Diffusion 1: the two compare encoders directly.
The lens leaves out the watermark that the stock pipeline stamps on its pictures.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from .flux import T5

DEEPFLOYD_IF = Family(
    pipeline_classes=("IFPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", **T5),),
    decode=lambda pipe, pixels: pixels,
)
