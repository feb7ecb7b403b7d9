"""AuraFlow: UMT5 (Pile-T5 XL) alone, in joint attention.

The denoiser gets the last state, after the final norm, for 256 positions; the pipeline sets the padding to zero.
Layer k is the state after block k (0: the embeddings), normed as the last one is.
UMT5 is an encoder: each position reads the whole prompt. It has its own position bias in every block, not in the first
alone as T5 has, so the states of early layers know of the order only as far as those blocks tell.
Nothing else of the prompt reaches the denoiser: layer 0 is the words without any context.
"""

from __future__ import annotations

from typing import Any

from ..family import Family, TextEncoder
from ..latents import decode_upcast
from ..text_attention import TextAttention
from .flux import T5


def _registers(transformer: Any) -> int:
    """How many learnt tokens the transformer puts in front of the text."""
    return transformer.register_tokens.shape[1]


AURA_FLOW = Family(
    pipeline_classes=("AuraFlowPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", **T5),),
    decode=decode_upcast,
    denoiser="transformer",
    multiple=16,
    attention=TextAttention(
        modules=("joint_transformer_blocks.*.attn", "single_transformer_blocks.*.attn"),
        keys="text first",
        prompt="second half",
        processor="diffusers.models.attention_processor.AuraFlowAttnProcessor2_0",
        num_keys=lambda transformer, given: _registers(transformer) + given["encoder_hidden_states"].shape[1],
        own=lambda pipe, encoder, text: slice(_registers(pipe.transformer), text),
    ),
)
