"""Stable Diffusion XL: two CLIP text encoders side by side, and a pooled vector of the whole prompt.

The denoiser is given three things: for each token the *penultimate* states of both encoders, without any norm, one
behind the other on the width axis (768 + 1280 in SDXL base); the pooled vector, which the second encoder projects out
of its last block; and six numbers for the picture's size and crop, which are the stock pipeline's for the height and
width asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..runs.tokens import Token
from .base import Conditioning, Encoding
from .clip_states import read_prompt, require_stock_state, text_model, watched_states
from .pipeline_state import dtype_restored


class SDXLConditioning(Conditioning):
    """One of the two encoders is lensed; layer k is its raw state after block k (0: the embeddings).

    **Layers.** An encoder of N blocks has the layers 0..N-1: 12 for the first of SDXL base, 32 for the second. The last
    of them, N-1, is the penultimate state, so its picture is the stock picture. The state after block N is not offered:
    the denoiser has never seen it (as with SD 2.x, whose weights leave that block out). Layer k is the stock
    pipeline's `clip_skip=N-1-k`, done to this encoder alone; like there, no final layer norm is applied to any layer.

    **Meanwhile** the other encoder holds its full stock state for the same prompt, and the pooled vector stays the
    stock one. Then all pictures of a run differ in one thing only, and the last is the stock picture. So this lens
    shows what the later blocks of one encoder add *given all the rest*: an early layer's picture may well show the
    prompt, told by the other encoder and by the pooled vector. It is not what the lensed encoder could say alone.
    Both encoders at once are not offered, because their depths differ and so a layer number means no one place.

    **Negative prompt.** Its full stock state from both encoders, and its own pooled vector. Without one (None) the
    stock pipeline takes zeros for both where its config says `force_zeros_for_empty_prompt` (SDXL base does), else
    the encoded empty text; a negative prompt of "" is always encoded.

    **Single tokens.** The dropped places are replaced in both encoders, so that the other one does not tell them
    either, and the pooled vector is the prompt's only where all its words are kept, else that of the empty prompt.
    """

    pipeline_classes = ("StableDiffusionXLPipeline",)
    encoders = ("text_encoder", "text_encoder_2")
    has_pooled = True

    def __init__(self, pipe: Any, encoder: str | None = None) -> None:
        super().__init__(pipe, encoder)
        if pipe.text_encoder_2 is None:
            raise ValueError(f"pipe: this {type(pipe).__name__} has no text_encoder_2, which makes the pooled vector")

    @property
    def num_layers(self) -> int:
        return self._lensed.config.num_hidden_layers  # + 1 for the embeddings, - 1 for the last block

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        blocks = text_model(self._lensed).encoder.layers
        return (
            blocks if self.encoder == "text_encoder_2" else blocks[:-1]
        )  # the last block of the second makes the pooled vector

    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        tokenizer = self.pipe.tokenizer if self.encoder == "text_encoder" else self.pipe.tokenizer_2
        return read_prompt(self.pipe, tokenizer, prompt)

    @torch.inference_mode()
    def encode(self, prompt: str, lora_scale: float | None = None) -> Encoding:
        pipe = self.pipe
        with ExitStack() as hooks:
            # without a first encoder the stock pipeline conditions on the second alone
            seen = {
                name: hooks.enter_context(watched_states(getattr(pipe, name)))
                for name in self.encoders
                if getattr(pipe, name) is not None
            }
            stock_embeds, _, pooled, _ = pipe.encode_prompt(
                prompt,
                device=pipe._execution_device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                lora_scale=lora_scale,
            )
        states = {name: forwards[0][:-1] for name, forwards in seen.items()}
        lensed = self.encoder
        parts = [
            (of_one if name == lensed else of_one[-1:].expand(self.num_layers, -1, -1)).to(stock_embeds)
            for name, of_one in states.items()
        ]
        prompt_embeds = torch.cat(parts, dim=-1)
        require_stock_state(prompt_embeds[-1:], stock_embeds)
        return Encoding(states[lensed], prompt_embeds, pooled)

    def encode_negative(self, prompt: str | None, lora_scale: float | None = None) -> Encoding:
        encoding = super().encode_negative(prompt, lora_scale)
        if prompt is not None or not self.pipe.config.force_zeros_for_empty_prompt:
            return encoding
        embeds, pooled = encoding.prompt_embeds, _pooled(encoding)
        return replace(encoding, prompt_embeds=torch.zeros_like(embeds), pooled=torch.zeros_like(pooled))

    def call_kwargs(self, encoding: Encoding, layers: Sequence[int], negative: Encoding | None) -> dict[str, Tensor]:
        rows = {
            "prompt_embeds": encoding.prompt_embeds[list(layers)],
            "pooled_prompt_embeds": _pooled_of(encoding, layers),
        }
        if negative is not None:
            rows["negative_prompt_embeds"] = negative.prompt_embeds[-1:].expand(len(layers), -1, -1)
            rows["negative_pooled_prompt_embeds"] = _pooled(negative).expand(len(layers), -1)
        return rows

    def decode(self, latents: Tensor) -> Tensor:
        vae, config = self.pipe.vae, self.pipe.vae.config
        # SDXL's own VAE overflows in float16; the stock pipeline casts it to and fro in the same way
        upcast = vae.dtype == torch.float16 and config.get("force_upcast")
        with dtype_restored(vae, torch.float32 if upcast else None):
            latents = latents.to(vae.dtype)
            mean, std = config.get("latents_mean"), config.get("latents_std")
            if mean is not None and std is not None:  # such as Playground 2.5
                mean, std = (latents.new_tensor(values).reshape(1, -1, 1, 1) for values in (mean, std))
                latents = latents * std / config.scaling_factor + mean
            else:
                latents = latents / config.scaling_factor
            return vae.decode(latents, return_dict=False)[0]

    @property
    def _lensed(self) -> Any:
        return getattr(self.pipe, self.encoder)


def _pooled(encoding: Encoding) -> Tensor:
    if encoding.pooled is None:
        raise TypeError("this encoding has no pooled vector: it is of another model family")
    return encoding.pooled


def _pooled_of(encoding: Encoding, layers: Sequence[int]) -> Tensor:
    pooled = _pooled(encoding)
    return pooled.expand(len(layers), -1) if len(pooled) == 1 else pooled[list(layers)]
