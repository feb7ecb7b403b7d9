"""Qwen-Image: Qwen2.5-VL 7B, a language model, read after its last block and its final norm.

The prompt stands in a template that asks to describe an image; the 34 tokens in front of it are dropped, those behind
it (`<|im_start|>assistant`), which have read the whole prompt, are handed over too.
Layers are 0..28; each is normed once, as the one that the pipeline reads, and the denoiser norms each token again.
The last blocks of a language model turn to the next word of an answer: what shows earlier is not "less understood".
Guidance (`guidance_scale` is the pipeline's `true_cfg_scale`) needs a negative prompt, such as " ", as in diffusers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..family import Family, TextEncoder
from ..latents import PACKED
from ..text_attention import TextAttention


def _decode(pipe: Any, latents: Tensor) -> Tensor:
    vae = pipe.vae
    latents = latents.to(vae.dtype)[:, :, None]  # one frame of a video
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1).to(latents)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return vae.decode(latents * std + mean, return_dict=False)[0][:, :, 0]


QWEN_IMAGE = Family(
    pipeline_classes=("QwenImagePipeline",),
    encoders=(
        TextEncoder(
            "text_encoder",
            "tokenizer",
            "model.language_model.layers",
            "model.language_model.norm",
            reads=(-1,),
            normed=True,
        ),
    ),
    decode=_decode,
    denoiser="transformer",
    latents=PACKED,
    multiple=16,
    guidance="true_cfg_scale",
    dtype="bfloat16",
    attention=TextAttention(
        modules=("transformer_blocks.*.attn",),
        keys="text first",
        prompt="first forward",
        processor="diffusers.models.transformers.transformer_qwenimage.QwenDoubleStreamAttnProcessor2_0",
        patch=2,
        template=True,
        positions=lambda read, keys: range(read - keys, read),
    ),
)
