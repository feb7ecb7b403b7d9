"""A text encoder with one of its blocks skipped: what `LayerAblation` conditions on, for every family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..runs.tokens import Token
from .base import Conditioning, Encoding


class AblatedConditioning(Conditioning):
    """Row 0 is the stock state; row k is the stock state of an encoder whose block k passes its input on unchanged.

    All that is read from the encoder changes with it: SDXL's pooled vector too, where it is this encoder's. The
    negative prompt is always encoded with all blocks, so that the pictures of a run differ in one thing only.
    """

    question = "ablation"

    def __init__(self, stock: Conditioning) -> None:
        self.stock = stock
        self.pipe, self.encoder = stock.pipe, stock.encoder
        self.has_pooled = stock.has_pooled  # type: ignore[misc]  # of the class elsewhere, of the family here

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.stock.blocks

    @property
    def num_layers(self) -> int:
        return len(self.blocks) + 1

    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        return self.stock.tokenize(prompt)

    @torch.inference_mode()
    def encode(self, prompt: str, lora_scale: float | None = None) -> Encoding:
        encodings = [self.stock.encode(prompt, lora_scale)]
        for block in self.blocks:
            with _skipped(block):
                encodings.append(self.stock.encode(prompt, lora_scale))
        return Encoding(
            torch.cat([encoding.states[-1:] for encoding in encodings]),
            torch.cat([encoding.prompt_embeds[-1:] for encoding in encodings]),
            torch.cat([encoding.pooled for encoding in encodings if encoding.pooled is not None])
            if self.has_pooled
            else None,
        )

    def encode_negative(self, prompt: str | None, lora_scale: float | None = None) -> Encoding:
        return self.stock.encode_negative(prompt, lora_scale)

    def call_kwargs(self, encoding: Encoding, layers: Sequence[int], negative: Encoding | None) -> dict[str, Tensor]:
        return self.stock.call_kwargs(encoding, layers, negative)

    def stock_call(self, **kwargs: Any) -> Any:
        return self.stock.stock_call(**kwargs)

    def decode(self, latents: Tensor) -> Tensor:
        return self.stock.decode(latents)


@contextmanager
def _skipped(block: nn.Module) -> Iterator[None]:
    """Let a transformer block give back what it is given; before the hooks that record hidden states."""

    def pass_on(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    hook = block.register_forward_hook(pass_on, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        hook.remove()
