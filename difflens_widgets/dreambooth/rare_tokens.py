"""Words that mean nothing yet: single tokens that are rare and unlike the class, to name a subject with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

_WORD = re.compile(r"([a-z]{3,4})</w>")  # short: the fewer letters, the less it reminds of other words
_RARE = 0.95  # of the vocabulary are more frequent
_LENGTH = 1.05  # of the median embedding: what is learnt well grows longer (in the embedded model by half)


@dataclass(frozen=True)
class RareToken:
    """A word that the tokenizer keeps whole.

    `rarity` is the share of the vocabulary that is more frequent (0..1), `similarity` the cosine of its embedding with
    that of the class.
    """

    text: str
    id: int
    rarity: float
    similarity: float


def pieces_of(tokenizer: Any, word: str) -> list[str]:
    """What the tokenizer makes of a word: one piece, or several."""
    ids = tokenizer(word, add_special_tokens=False).input_ids
    return [tokenizer.decode([one]).strip() for one in ids]


@torch.no_grad()
def rare_tokens(pipe: Any, class_word: str, count: int = 10) -> list[RareToken]:
    """Words for a subject: a single token each, rare in what the tokenizer was made from, and unlike `class_word`.

    CLIP's vocabulary is in the order in which its pieces were merged, the most frequent first; so a late place means
    rare. Of the rarest twentieth, those words of three or four letters are given whose embedding is short, which means
    that the encoder learnt little of them; the least like the class come first.

    Parameters
    ----------
    pipe : diffusers pipeline, or a DiffusionLens
    class_word : str
        What the subject is one of: "dog".
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
