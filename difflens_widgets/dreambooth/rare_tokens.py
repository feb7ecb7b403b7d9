"""Words without a meaning: single tokens that are rare and unlike the class, as identifiers for a subject."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

_WORD = re.compile(r"([a-z]{3,4})</w>")  # short words have less in common with other words
_RARE = 0.95  # share of the vocabulary that is more frequent
_LENGTH = 1.1  # times the median norm: embeddings grow while they are trained, in the embedded model by a quarter


@dataclass(frozen=True)
class RareToken:
    """A word that is one token.

    Attributes
    ----------
    text : str
    id : int
    rarity : float
        The share of the vocabulary that is more frequent, 0..1.
    similarity : float
        The cosine of its embedding and that of the class, -1..1.
    """

    text: str
    id: int
    rarity: float
    similarity: float


def pieces_of(tokenizer: Any, word: str) -> list[str]:
    """The tokens of a word as text: one, or several."""
    ids = tokenizer(word, add_special_tokens=False).input_ids
    return [tokenizer.decode([one]).strip() for one in ids]


@torch.no_grad()
def rare_tokens(pipe: Any, class_word: str, count: int = 10) -> list[RareToken]:
    """Find identifiers for a subject: words that are one token, rare, and unlike `class_word`.

    The vocabulary of CLIP is in the order in which its pieces were merged, the most frequent first, so a large id means
    rare. Of the rarest twentieth, this returns the words of three or four letters whose embedding is short, which means
    that the encoder has learned little about them; the least similar to the class come first.

    Parameters
    ----------
    pipe : diffusers pipeline, or a DiffusionLens
    class_word : str
        The class of the subject: "dog".
    count : int
        How many at most.
    """
    pipe = getattr(pipe, "pipe", pipe)
    tokenizer = pipe.tokenizer
    table = pipe.text_encoder.get_input_embeddings().weight.detach().float()
    class_ids = tokenizer(class_word, add_special_tokens=False).input_ids
    class_row = table[class_ids].mean(0, keepdim=True)
    length = table.norm(dim=1)
    short = (length <= _LENGTH * length.median()).tolist()
    likeness = F.cosine_similarity(table, class_row).tolist()
    found = [
        RareToken(text, number, number / len(table), likeness[number])
        for text, number in _words(tokenizer)
        if number >= _RARE * len(table) and short[number] and pieces_of(tokenizer, text) == [text]
    ]
    return sorted(found, key=lambda token: token.similarity)[:count]


def _words(tokenizer: Any) -> Iterator[tuple[str, int]]:
    for piece, number in tokenizer.get_vocab().items():
        match = _WORD.fullmatch(piece)
        if match:
            yield match[1], number
