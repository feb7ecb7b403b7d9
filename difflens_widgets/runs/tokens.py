"""The tokens of a prompt as a person sees them: words, their sub-word joints, start, end and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

Kind = Literal["bos", "word", "eos", "pad"]


class PromptPart(Enum):
    """Two parts of a prompt that the per-token lens can keep in place of a token; never the same as a word.

    Attributes
    ----------
    PADDING
        Only the padding (and the start token): what the words have left there.
    PROMPT
        Only the words and the end token (and the start token): what is lost without the padding.
    """

    PADDING = "padding"
    PROMPT = "prompt"


_SPACE = "▁"  # how SentencePiece marks that a piece begins a word

TokenKey = (
    int | PromptPart
)  # what names a picture of the per-token lens: the index of the (first) token that is kept, or a part


@dataclass(frozen=True)
class Token:
    """One place of the text encoder's input.

    Attributes
    ----------
    index : int
        Its place, 0 is the start token.
    text : str
        What it stands for, without the tokenizer's own marks.
    kind : "bos", "word", "eos" or "pad"
    is_continuation : bool
        True where it goes on with the word of the token before ("fo" + "xes").
    """

    index: int
    text: str
    kind: Kind
    is_continuation: bool = False


def read_tokens(tokenizer: Any, input_ids: list[int]) -> tuple[Token, ...]:
    """Name the ids that a CLIP or T5 tokenizer made of one prompt (padded to full length, or not).

    CLIP marks where a word ends, T5 (SentencePiece) where one begins and leaves punctuation joined to it: there too a
    word goes on only from letter to letter.
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
    """The words of a prompt, each with all its pieces."""
    words: list[tuple[Token, ...]] = []
    for token in tokens:
        if token.kind == "word":
            if token.is_continuation and words:
                words[-1] = (*words[-1], token)
            else:
                words.append((token,))
    return words


def word_text(word: Sequence[Token]) -> str:
    """A word as a person writes it: its pieces joined."""
    return "".join(token.text for token in word)
