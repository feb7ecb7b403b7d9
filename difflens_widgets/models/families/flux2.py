"""FLUX.2 (dev, klein): a language model of which three states are read at once, stacked on the width axis.

dev reads Mistral 3 after blocks 10, 20 and 30 of 40, klein Qwen3 after 9, 18 and 27; un-normed, 512 positions with the
template and the padding, which the denoiser sees without a mask.
Layer k cuts the encoder at k: slot j holds the state after block min(j, k). The last read block is the last layer.
`slots=0` (1, 2) puts layer k into one slot and leaves the others: which layer carries what, for this denoiser.
`slots="all"` puts layer k into all of them, which the denoiser has never seen: far off its training distribution.
States grow with depth and the denoiser has no norm for them: an early layer is also quieter than what it replaces.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..family import Family, TextEncoder
from ..latents import PATCHES
from ..text_attention import TextAttention


def _decode(pipe: Any, latents: Tensor) -> Tensor:
    vae = pipe.vae
    latents = latents.to(vae.dtype)
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(latents)
    std = (vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).sqrt().to(latents)
    return vae.decode(pipe._unpatchify_latents(latents * std + mean), return_dict=False)[0]


def _klein_defaults(pipe: Any) -> dict[str, Any]:
    return {"num_inference_steps": 4, "guidance_scale": 1.0} if pipe.config.is_distilled else {}


_COMMON: dict[str, Any] = {
    "decode": _decode,
    "denoiser": "transformer",
    "latents": PATCHES,
    "multiple": 16,
    "dtype": "bfloat16",
    "attention": TextAttention(
        modules=("transformer_blocks.*.attn", "single_transformer_blocks.*.attn"),
        keys="text first",
        prompt="first forward",
        processor="diffusers.models.transformers.transformer_flux2.Flux2AttnProcessor",
        patch=2,
        template=True,
    ),
}

FLUX2 = Family(
    pipeline_classes=("Flux2Pipeline",),
    encoders=(
        TextEncoder(
            "text_encoder",
            "tokenizer",
            "model.language_model.layers",
            "model.language_model.norm",
            reads=(10, 20, 30),
        ),
    ),
    **_COMMON,
)
FLUX2_KLEIN = Family(
    pipeline_classes=("Flux2KleinPipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "model.layers", "model.norm", reads=(9, 18, 27)),),
    defaults=_klein_defaults,
    **_COMMON,
)
