"""Z-Image and Z-Image-Turbo: Qwen3 4B, a language model, read before its last block.

The denoiser gets the state after block 35 of 36, un-normed, of the real tokens only: the user's words inside a chat
template (with thinking). Layers are 0..35; the state after block 36 never reaches the picture, so it is no layer.
The denoiser norms each token itself, so the growth of the states with depth does not matter: raw and rescaled are one.
A token reads only what is before it; the template's end, `<|im_start|>assistant`, reads the whole prompt.
The encoder learnt to predict the next token: layer k shows what of its state at k this denoiser can use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..family import Family, TextEncoder
from ..latents import decode_scaled
from ..text_attention import TextAttention


def _defaults(pipe: Any) -> dict[str, Any]:
    # nothing in the weights tells them apart: Turbo is distilled, for eight evaluations without guidance
    is_turbo = "turbo" in str(pipe.config.get("_name_or_path") or "").lower()
    return {"num_inference_steps": 9, "guidance_scale": 0.0} if is_turbo else {}


_MULTIPLE = 32  # the transformer pads the image's tokens, and each prompt's, to a multiple of it


def _num_keys(transformer: Any, given: Mapping[str, Any]) -> int:
    longest = max(map(len, given["cap_feats"]))
    return longest + -longest % _MULTIPLE


Z_IMAGE = Family(
    pipeline_classes=("ZImagePipeline",),
    encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", reads=(-2,)),),
    decode=decode_scaled,
    denoiser="transformer",
    multiple=16,
    defaults=_defaults,
    dtype="bfloat16",
    attention=TextAttention(
        modules=("layers.*.attention",),
        keys="image first",
        prompt="first half",
        processor="diffusers.models.transformers.transformer_z_image.ZSingleStreamAttnProcessor",
        patch=2,
        multiple=_MULTIPLE,
        num_keys=_num_keys,
        template=True,
        positions=lambda read, keys: range(keys),  # behind the prompt's tokens: padding, of the transformer's own
    ),
)
