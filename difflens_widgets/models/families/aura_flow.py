"""AuraFlow: UMT5 (Pile-T5 XL) alone, in joint attention.

The denoiser gets the last state, after the final norm, for 256 positions; the pipeline sets the padding to zero.
Layer k is the state after block k (0: the embeddings), normed as the last one is.
UMT5 is an encoder: each position reads the whole prompt. It has its own position bias in every block, not in the first
alone as T5 has, so the states of early layers know of the order only as far as those blocks tell.
Nothing else of the prompt reaches the denoiser: layer 0 is the words without any context.
"""

from __future__ import annotations

from ..family import Family, TextEncoder
from ..latents import decode_upcast
from .flux import T5

AURA_FLOW = Family(
    pipeline_classes=("AuraFlowPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", **T5),),
    decode=decode_upcast,
    denoiser="transformer",
    multiple=16,
)
