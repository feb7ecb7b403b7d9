"""Lumina-Image 2.0: Gemma 2 2B, a language model, read before its last block.

The denoiser gets the state after block 25 of 26, un-normed, for 256 positions; a mask hides the padding. A system
prompt stands in front, ends with `<Prompt Start>`, and is handed over too; the negative prompt has none.
Layers are 0..25; the state after block 26 never reaches the picture, so it is no layer.
The denoiser norms each token itself, so the growth of the states with depth does not matter: raw and rescaled are one.
A token reads only what is before it; with Gemma there is no template behind the prompt.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import decode_scaled
from ..text_attention import TextAttention

LUMINA2 = Family(
    pipeline_classes=("Lumina2Pipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", reads=(-2,)),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=16,
    dtype="bfloat16",
    attention=TextAttention(
        modules=("layers.*.attn",),
        keys="text first",
        prompt="first forward",
        processor="diffusers.models.transformers.transformer_lumina2.Lumina2AttnProcessor2_0",
        num_keys=lambda transformer, given: int(given["encoder_attention_mask"].sum(1).max()),
        template=True,
        positions=lambda read, keys: range(keys),
    ),
)
