"""The tokens of a prompt that a text encoder reads."""

from __future__ import annotations

from typing import Any

from ..runs.tokens import Token, read_tokens


def read_prompt(pipe: Any, tokenizer: Any, prompt: str) -> tuple[tuple[Token, ...], str]:
    """The tokens that the encoder of `tokenizer` reads, and the part of `prompt` that is cut off, or ""."""
    if hasattr(pipe, "maybe_convert_prompt"):  # textual inversion: one word may have several vectors
        prompt = pipe.maybe_convert_prompt(prompt, tokenizer)
    limit = tokenizer.model_max_length
    ids = tokenizer(prompt, padding="max_length", max_length=limit, truncation=True).input_ids
    full = tokenizer(prompt, verbose=False).input_ids
    cut = tokenizer.decode(full[limit - 1 : -1]).strip() if len(full) > limit else ""
    return read_tokens(tokenizer, ids), cut
