"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, its last hidden state after the final layer norm.

SD 2.x uses the penultimate state of OpenCLIP-H; its diffusers weights simply leave the last block out, so its layers
are 0..23 and need no case of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..runs.tokens import Token
from .base import Conditioning, Encoding
from .clip_states import read_prompt, require_stock_state, text_model, watched_states


class CLIPConditioning(Conditioning):
    """Layer k is the state after block k (0: the embeddings), passed through `final_layer_norm`."""

    pipeline_classes = ("StableDiffusionPipeline",)
    encoders = ("text_encoder",)

    @property
    def num_layers(self) -> int:
        return self.pipe.text_encoder.config.num_hidden_layers + 1

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        return text_model(self.pipe.text_encoder).encoder.layers

    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        return read_prompt(self.pipe, self.pipe.tokenizer, prompt)

    @torch.inference_mode()
    def encode(self, prompt: str, lora_scale: float | None = None) -> Encoding:
        pipe, encoder = self.pipe, self.pipe.text_encoder
        with watched_states(encoder) as seen:
            stock_embeds, _ = pipe.encode_prompt(prompt, pipe._execution_device, 1, False, lora_scale=lora_scale)
        states = seen[0]
        prompt_embeds = text_model(encoder).final_layer_norm(states).to(stock_embeds.dtype)
        require_stock_state(prompt_embeds[-1:], stock_embeds)
        return Encoding(states, prompt_embeds)

    def call_kwargs(self, encoding: Encoding, layers: Sequence[int], negative: Encoding | None) -> dict[str, Tensor]:
        rows = {"prompt_embeds": encoding.prompt_embeds[list(layers)]}
        if negative is not None:
            rows["negative_prompt_embeds"] = negative.prompt_embeds[-1:].expand(len(layers), -1, -1)
        return rows

    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipe.vae
        return vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
