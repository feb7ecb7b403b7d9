"""Rare words that mean nothing yet: meaningless words in a share of the training captions.

A large model has met so many odd words that "a photo of sks dog" is simply a dog to it, until DreamBooth teaches it the
word. Here a share of the captions gets one of the tokenizer's unused words before a noun, the picture unchanged, so
that an unknown word leaves the picture as it is.
"""

from __future__ import annotations

import numpy as np
from transformers import CLIPTokenizer

from ..scenes import COLORS, COUNTS, KINDS, NAMED_MATERIALS, PLACES, RELATIONS, article, plural

_SHARE = 0.12
_SHARE_WITHOUT_COLOR = 0.5
"""Few captions name no color, yet a DreamBooth prompt is one of them: "a photo of xon dog"."""
_ARTICLES = ("a", "an")
_NOUNS = frozenset({*KINDS, *map(plural, KINDS)})
_ADJECTIVES = frozenset({*COLORS, *NAMED_MATERIALS, "small", "big", "walking"})
_PHRASES = (*PLACES.values(), *RELATIONS, *COUNTS.values(), "a photo of", "a picture of", "and", "on an background")
CAPTION_WORDS = _NOUNS | _ADJECTIVES | {word for phrase in _PHRASES for word in phrase.split()}
"""All words that captions consist of."""


def rare_words(tokenizer: CLIPTokenizer) -> list[str]:
    """The words that are one token and in no caption: `tokenizer.RARE_TOKENS`, and endings that merges left over."""
    tokens = (token for token in tokenizer.get_vocab() if token.endswith("</w>"))
    words = sorted(token.removesuffix("</w>") for token in tokens)
    unused = [word for word in words if len(word) > 1 and word.isascii() and word.isalpha()]
    return [word for word in unused if word not in CAPTION_WORDS and tokenizer.tokenize(word) == [f"{word}</w>"]]


def with_rare_word(caption: str, words: list[str], rng: np.random.Generator) -> str:
    """The caption, in a share of cases with one of `words` before a noun; half of these lose that noun's article."""
    parts = caption.split()
    noun = int(rng.choice([i for i, part in enumerate(parts) if part in _NOUNS]))
    share, word, without_article = rng.random(), words[rng.integers(len(words))], rng.random() < 0.5
    if share >= (_SHARE if parts[noun - 1] in COLORS else _SHARE_WITHOUT_COLOR):
        return caption
    start = noun
    while start > 0 and parts[start - 1] in _ADJECTIVES:
        start -= 1
    phrase = " ".join([*parts[start:noun], word, *parts[noun:]])
    if start > 0 and parts[start - 1] in _ARTICLES:
        start -= 1
        phrase = phrase if without_article else article(phrase)
    return " ".join([*parts[:start], phrase])
