"""What the families with CLIP text encoders share: tokens, and the hidden states of a stock encode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..runs.tokens import Token, read_tokens


def read_prompt(pipe: Any, tokenizer: Any, prompt: str) -> tuple[tuple[Token, ...], str]:
    """The tokens that the text encoder behind `tokenizer` reads, and the part of `prompt` that did not fit."""
    prompt = pipe.maybe_convert_prompt(prompt, tokenizer)  # textual inversion: one word, several vectors
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, padding="max_length", max_length=limit, truncation=True).input_ids
    full = tokenizer(prompt, verbose=False).input_ids
    cut = tokenizer.decode(full[limit - 1 : -1]).strip() if len(full) > limit else ""
    return read_tokens(tokenizer, ids), cut


@contextmanager
def watched_states(encoder: Any) -> Iterator[list[Tensor]]:
    """Collect the hidden states, (layer, token, width), of each forward of `encoder` with one prompt.

    So a family can leave the encoding to its pipeline's own `encode_prompt`: its tokenising, padding, mask and dtype
    are what the denoiser is used to.
    """
    seen: list[Tensor] = []
    hooks = (
        encoder.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "output_hidden_states": True}), with_kwargs=True
        ),
        encoder.register_forward_hook(lambda module, args, output: seen.append(torch.cat(output.hidden_states))),
    )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def text_model(encoder: Any) -> Any:
    """The module that holds the embeddings, the blocks and the final norm of a CLIP text encoder."""
    return getattr(encoder, "text_model", encoder)  # transformers ≥ 5.6 has no inner `text_model` any more


def require_stock_state(ours: Tensor, stock: Tensor) -> None:
    """Compare with the stock state: a release that moves a norm would make every layer wrong, silently.

    Raises
    ------
    RuntimeError
        If `ours` is not what the stock pipeline conditions on.
    """
    if ours.shape != stock.shape or not torch.allclose(ours.float(), stock.float(), rtol=1e-2, atol=1e-2):
        raise RuntimeError(
            "the last layer's state differs from what the stock pipeline conditions on: "
            "this version of transformers or diffusers reads or norms it elsewhere; please report it"
        )
