"""The tokens of a prompt: words, their sub-word tokens, start, end and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from .variant import Variant

Kind = Literal["bos", "word", "eos", "pad"]


class PromptPart(Enum):
    """Two parts of a prompt that the per-token lens can keep in place of a token; never equal to a word.

    Attributes
    ----------
    PADDING
        Only the padding and the start token: what the encoder wrote to the padding positions.
    PROMPT
        Only the words, the end token and the start token: what is lost without the padding.
    """

    PADDING = "padding"
    PROMPT = "prompt"


_SPACE = "▁"  # SentencePiece's mark for the first token of a word

TokenKey = int | PromptPart | Variant
"""The key of a row of pictures: the position of the (first) kept token, a part of the prompt, or a variant."""


@dataclass(frozen=True)
class Token:
    """One position of the text encoder's input.

    Attributes
    ----------
    index : int
        The position; 0 is the start token.
    text : str
        The text of the token, without the tokenizer's marks.
    kind : "bos", "word", "eos" or "pad"
    is_continuation : bool
        True if it continues the word of the token before it ("fo" + "xes").
    """

    index: int
    text: str
    kind: Kind
    is_continuation: bool = False


def read_tokens(tokenizer: Any, input_ids: list[int]) -> tuple[Token, ...]:
    """The tokens for the ids that a CLIP or T5 tokenizer made from one prompt, with or without padding.

    CLIP marks the end of a word, T5 (SentencePiece) the start of a word, but not of punctuation. So for T5 too, a word
    continues only from letter or digit to letter or digit.
    """
    pieces = tokenizer.convert_ids_to_tokens(input_ids)
    marks_starts = any(piece.startswith(_SPACE) for piece in pieces)
    tokens: list[Token] = []
    open_word = False
    ended = False
    for index, piece in enumerate(pieces):
        if index == 0 and piece == tokenizer.bos_token:
            tokens.append(Token(index, piece, "bos"))
        elif ended:
            tokens.append(Token(index, piece, "pad"))
        elif piece == tokenizer.eos_token:
            tokens.append(Token(index, piece, "eos"))
            ended = True
        elif marks_starts:
            text, before = piece.replace(_SPACE, ""), tokens[-1].text if tokens else ""
            goes_on = not before or (before[-1].isalnum() and text[:1].isalnum())
            tokens.append(Token(index, text, "word", not piece.startswith(_SPACE) and goes_on))
        else:
            text = tokenizer.decode([input_ids[index]]).strip()
            tokens.append(Token(index, text, "word", open_word))
            open_word = not piece.endswith("</w>")
    return tuple(tokens)


def read_words(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """The words of a prompt, each with all its sub-word tokens."""
    words: list[tuple[Token, ...]] = []
    for token in tokens:
        if token.kind == "word":
            if token.is_continuation and words:
                words[-1] = (*words[-1], token)
            else:
                words.append((token,))
    return words


def word_text(word: Sequence[Token]) -> str:
    """The text of a word: that of its sub-word tokens, joined."""
    return "".join(token.text for token in word)
