"""Which words a model was never trained on: a small one can tell, a large one has seen nearly all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..runs.tokens import Token, read_words, word_text
from .own_tokenizer import without_processor

KEY = "trained_words_are_whole"
"""In the tokenizer's config: every word of the training captions is one token, so one in pieces was in none of them."""


def unknown_words(tokenizer: Any, tokens: Sequence[Token]) -> list[str]:
    """The words of a prompt, each once, that the model was never trained on; none where its tokenizer does not say.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase, or a processor that has one
    tokens : sequence of Token
        What it made of the prompt.
    """
    if getattr(without_processor(tokenizer), "init_kwargs", {}).get(KEY) is not True:
        return []
    return list(dict.fromkeys(word_text(word) for word in read_words(tokens) if len(word) > 1))
