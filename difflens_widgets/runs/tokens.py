"""The tokens of a prompt: words, their sub-word tokens, start, end, template and padding."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .variant import Variant

Kind = Literal["bos", "word", "eos", "pad", "template"]


class PromptPart(Enum):
    """Two parts of a prompt that the per-token lens can keep in place of a token; never equal to a word.

    Attributes
    ----------
    PADDING
        Only the padding and the start token: what the encoder wrote to the padding positions. Never the end of a
        template: it has read the whole prompt.
    PROMPT
        Only the words, the end token and the start token: what is lost without the padding.
    """

    PADDING = "padding"
    PROMPT = "prompt"


TokenKey = int | PromptPart | Variant
"""The key of a row of pictures: the position of the (first) kept token, a part of the prompt, or a variant."""


@dataclass(frozen=True)
class Token:
    """One position of the text encoder's input.

    Attributes
    ----------
    index : int
        The position. It is 0 for the start token, if the tokenizer has one.
    text : str
        Of a word: the user's own characters that this token begins. It is "" for the later tokens of a character that
        is split into bytes, and for a token that is only a space. Of other kinds: the token itself.
    kind : "bos", "word", "eos", "pad" or "template"
        "template" is what the pipeline writes around the prompt, such as the marks of a chat.
    is_continuation : bool
        True if it continues the word of the token before it ("fo" + "xes").
    span : (int, int), optional
        Of a word: start and end of its characters in the prompt. None for other kinds, and in files before 2.1.
    """

    index: int
    text: str
    kind: Kind
    is_continuation: bool = False
    span: tuple[int, int] | None = None


def read_words(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """The words of a prompt, each with all its sub-word tokens."""
    words: list[tuple[Token, ...]] = []
    for token in tokens:
        if token.kind == "word":
            if token.is_continuation and words:
                words[-1] = (*words[-1], token)
            else:
                words.append((token,))
    return [word for word in words if word_text(word)]


def word_text(word: Sequence[Token]) -> str:
    """The text of a word: that of its sub-word tokens, joined."""
    return "".join(token.text for token in word)


# -- which characters belong together

_JOINER = "\u200d"  # joins two emoji to one
_SKIN = range(0x1F3FB, 0x1F400)
_JAMO = range(0x1160, 0x1200)  # vowels and last consonants of a Korean syllable
_WITHOUT_SPACES = ("CJK ", "HIRAGANA ", "KATAKANA", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ", "JAVANESE ")


def extends(char: str) -> bool:
    """Whether a character belongs to the one before it: an accent, a vowel sign, a joiner, the color of an emoji."""
    category = unicodedata.category(char)
    return category[0] == "M" or category == "Cf" or ord(char) in _SKIN or ord(char) in _JAMO


def characters(text: str) -> list[tuple[int, int]]:
    """The characters as a person counts them, each with what extends it: (start, end) of each."""
    starts = [at for at, char in enumerate(text) if not at or text[at - 1].isspace() or not extends(char)]
    return list(zip(starts, [*starts[1:], len(text)], strict=False))  # of "" there is an end without a start


def same_word(before: str, after: str, *, digits: bool = False) -> bool:
    """Whether no word ends between two neighbouring characters.

    Between two letters none does, except in scripts that put no spaces between words; there any token may be a word.

    Parameters
    ----------
    before, after : str
        The characters.
    digits : bool
        Whether digits count as letters.
    """
    if (extends(after) and not before.isspace()) or before == _JOINER:
        return True
    kinds = "LMN" if digits else "LM"
    if not all(unicodedata.category(char)[0] in kinds for char in (before, after)):
        return False
    return not any(unicodedata.name(char, "").startswith(_WITHOUT_SPACES) for char in (before, after))
