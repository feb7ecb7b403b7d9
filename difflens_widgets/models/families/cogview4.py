"""CogView4: GLM-4 9B, a language model, read before its last block.

The denoiser gets the state after block 39 of 40, un-normed; padding, up to a multiple of 16, stands in *front* of the
prompt, and neither GLM nor the denoiser has a mask for it.
Layers are 0..39; the state after block 40 never reaches the picture, so it is no layer.
A token reads only what is before it, the padding too; the last token of the prompt has read all of it.
States grow with depth and the denoiser has no norm for them: an early layer is also quieter than the one it replaces.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import decode_scaled

COGVIEW4 = Family(
    pipeline_classes=("CogView4Pipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", reads=(-2,)),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=16,
    dtype="bfloat16",
)
