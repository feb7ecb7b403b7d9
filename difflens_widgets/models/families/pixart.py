"""PixArt-α and PixArt-Σ: T5 alone, by cross-attention.

The denoiser gets T5's last state, after the final norm, for 120 (α) or 300 (Σ) positions; a mask hides the padding.
Layer k is the state after block k of 24 (0: the embeddings), normed as the last one is.
Nothing else of the prompt reaches the denoiser: layer 0 is the words without any context.
The lens paints exactly the size that it is asked for: `use_resolution_binning=False` in diffusers' call.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import decode_scaled
from ..text_attention import TextAttention
from .flux import T5

PIXART = Family(
    pipeline_classes=("PixArtAlphaPipeline", "PixArtSigmaPipeline"),
    encoders=(TextEncoder("text_encoder", "tokenizer", **T5),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=16,
    arguments={"use_resolution_binning": False},
    attention=TextAttention(
        modules=("transformer_blocks.*.attn2",),
        keys="text",
        prompt="second half",
        processor="diffusers.models.attention_processor.AttnProcessor2_0",
    ),
)
