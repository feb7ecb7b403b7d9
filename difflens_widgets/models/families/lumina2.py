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

LUMINA2 = Family(
    pipeline_classes=("Lumina2Pipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", reads=(-2,)),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=16,
    dtype="bfloat16",
)
