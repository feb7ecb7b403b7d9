"""Stable Diffusion 3 and 3.5: two CLIP encoders and T5, side by side on the token axis.

The denoiser gets 77 positions of both CLIPs (the states before their last block, un-normed, joined on the width axis)
and then 256 of T5 (its last state, normed; without a mask, so the padding takes part). T5 may be absent: zeros instead.
Layers: CLIP-L 0..11, OpenCLIP-G 0..31 (the state after the last block is no layer), T5-XXL 0..24, each normed.
One encoder is examined; the others, and the pooled vector of both CLIPs, are the prompt's own in every image, so an
early layer still shows what those know. CLIP states grow with depth, and the denoiser does not norm them: early ones
are also quieter.
"""

from __future__ import annotations

from typing import Any

from ..family import Family, TextEncoder
from ..latents import decode_scaled
from ..text_attention import TextAttention
from .flux import T5

_CLIP: dict[str, Any] = {"blocks": "encoder.layers", "norm": "final_layer_norm"}


def _own_keys(pipe: Any, encoder: str, text: int) -> slice:
    clip = pipe.tokenizer_max_length  # positions that the two CLIP encoders share
    return slice(clip, text) if encoder == "text_encoder_3" else slice(0, clip)


STABLE_DIFFUSION_3 = Family(
    pipeline_classes=("StableDiffusion3Pipeline",),
    encoders=(
        TextEncoder("text_encoder", "tokenizer", **_CLIP, reads=(-2,), pooled=True),
        TextEncoder("text_encoder_2", "tokenizer_2", **_CLIP, reads=(-2,), pooled=True),
        TextEncoder("text_encoder_3", "tokenizer_3", **T5),
    ),
    decode=decode_scaled,
    denoiser="transformer",
    requires=("text_encoder", "text_encoder_2"),
    multiple=16,
    dtype="bfloat16",
    attention=TextAttention(
        modules=("transformer_blocks.*.attn",),
        keys="image first",
        prompt="second half",
        processor="diffusers.models.attention_processor.JointAttnProcessor2_0",
        own=_own_keys,
    ),
)
