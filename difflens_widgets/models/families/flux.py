"""FLUX.1 (dev, schnell): T5 for the tokens, and one pooled vector of CLIP.

The denoiser gets the last state of T5's encoder, after its final norm, for all 512 positions; it sees no mask, so the
padding takes part. Layer k is the state after block k of 24 (T5-XXL; 0: the embeddings), normed as the last one is.
T5 is an encoder: each position reads the whole prompt, and an early layer shows what is known without the later blocks.
CLIP's pooled vector is the prompt's own in every image of a run, so layer 0 already has a hint of the whole prompt.
dev is distilled: no negative prompt, unless `true_cfg_scale` > 1; schnell ignores guidance and needs four steps.
"""

from __future__ import annotations

from typing import Any

from ..family import Family, TextEncoder
from ..latents import PACKED, decode_scaled
from ..text_attention import TextAttention

T5: dict[str, Any] = {"blocks": "encoder.block", "norm": "encoder.final_layer_norm", "normed": True}
"""Where the parts of T5 and UMT5 are; pipelines read the encoder's first output, which is normed."""


def _defaults(pipe: Any) -> dict[str, Any]:
    is_schnell = not pipe.transformer.config.guidance_embeds
    return {"num_inference_steps": 4, "guidance_scale": 0.0} if is_schnell else {}


FLUX = Family(
    pipeline_classes=("FluxPipeline",),
    encoders=(
        TextEncoder("text_encoder_2", "tokenizer_2", **T5),
        TextEncoder(
            "text_encoder",
            "tokenizer",
            "encoder.layers",
            "final_layer_norm",
            normed=True,
            pooled=True,
            only_pooled=True,
        ),
    ),
    decode=decode_scaled,
    denoiser="transformer",
    requires=("text_encoder", "text_encoder_2"),
    latents=PACKED,
    multiple=16,
    defaults=_defaults,
    dtype="bfloat16",
    attention=TextAttention(
        modules=("transformer_blocks.*.attn", "single_transformer_blocks.*.attn"),
        keys="text first",
        prompt="first forward",  # the second one, if there is one, is that of `true_cfg_scale`
        processor="diffusers.models.transformers.transformer_flux.FluxAttnProcessor",
        patch=2,
    ),
)
