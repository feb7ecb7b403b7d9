"""Sana: Gemma 2 2B, a language model, read after its last block and its final norm.

A long instruction ("enhance this prompt") stands in front of the prompt; the pipeline keeps the start token and the
last 299 positions, so mostly the prompt and its padding, which a mask hides.
Layers are 0..26, each normed once; layer 0 is the embeddings with Gemma's scale.
A token has read the instruction and the words before it: layer k shows how far Gemma is with its "enhanced" answer.
The lens paints exactly the size that it is asked for: `use_resolution_binning=False` in diffusers' call.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import decode_scaled
from ..text_attention import TextAttention

SANA = Family(
    pipeline_classes=("SanaPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", normed=True),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=32,
    dtype="bfloat16",
    arguments={"use_resolution_binning": False},
    attention=TextAttention(
        modules=("transformer_blocks.*.attn2",),
        keys="text",
        prompt="second half",
        processor="diffusers.models.transformers.sana_transformer.SanaAttnProcessor2_0",
        template=True,
        positions=lambda read, keys: [0, *range(read - keys + 1, read)],
    ),
)
