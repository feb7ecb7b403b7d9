"""Chroma: T5 alone, without CLIP's pooled vector, so all that the denoiser knows of a prompt is in the examined states.

It gets T5's last state, after the final norm, for 512 positions; a mask hides the padding but for its first position.
Layer k is the state after block k of 24 (0: the embeddings), normed as the last one is.
T5 is an encoder: each position reads the whole prompt, and its end and the one visible padding position do too.
Guidance is classifier-free, in two forwards; the negative prompt always has all layers.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import PACKED, decode_scaled
from ..text_attention import TextAttention
from .flux import T5

CHROMA = Family(
    pipeline_classes=("ChromaPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", **T5),),
    decode=decode_scaled,
    denoiser="transformer",
    latents=PACKED,
    multiple=16,
    dtype="bfloat16",
    attention=TextAttention(
        modules=("transformer_blocks.*.attn", "single_transformer_blocks.*.attn"),
        keys="text first",
        prompt="first forward",
        processor="diffusers.models.transformers.transformer_flux.FluxAttnProcessor",
        patch=2,
    ),
)
