"""Finds words in a prompt by its tokens; needs no tokenizer."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Sequence

from .tokens import PromptPart, Token, read_words, word_text

_NAMED_WORDS = 40


def positions_of(
    word: int | str | PromptPart, tokens: Sequence[Token], name: str = "word", cut: str = ""
) -> tuple[int, ...]:
    """The positions in `tokens` of one word, or of several consecutive words.

    A word is found with all its sub-word tokens, in any case. An int is a position; a `PromptPart` is that part of
    the prompt.

    Parameters
    ----------
    name : str
        The name of the argument in error messages.
    cut : str
        The part of the prompt that was cut off, if known.

    Raises
    ------
    ValueError, TypeError
        If the prompt does not contain it, or contains it several times.
    """
    if isinstance(word, PromptPart):
        return part_positions(word, tokens, name)
    if not isinstance(word, str):
        return (checked_position(word, tokens, name),)
    found = occurrences(word, tokens, name, cut)
    if len(found) > 1:
        starts = ", ".join(str(positions[0]) for positions in found)
        raise ValueError(
            f"{name}: {word!r} stands {len(found)} times in the prompt; give one of its positions: {starts}"
        )
    return found[0]


def occurrences(word: str, tokens: Sequence[Token], name: str = "word", cut: str = "") -> list[tuple[int, ...]]:
    """The positions of every occurrence of a word, or of several consecutive words.

    Raises
    ------
    ValueError
        If there is none; the message says if the word was cut off.
    """
    words = read_words(tokens)
    texts = [word_text(pieces) for pieces in words]
    wanted = [_plain(part) for part in word.split()]
    if not wanted:
        raise ValueError(f"{name}: {word!r} has no word in it")
    found = [
        tuple(token.index for pieces in words[start:end] for token in pieces)
        for start, end in _spans(wanted, [_plain(text) for text in texts])
    ]
    if found:
        return found
    # the cut may be inside a word, or between two words of a group
    if cut and any(_plain(word) in _plain(text) for text in (f"{texts[-1]}{cut}", f"{texts[-1]} {cut}")):
        raise ValueError(f"{name}: {word!r} is cut off: the text encoder reads the prompt up to {texts[-1]!r} only")
    there = ", ".join(dict.fromkeys(map(repr, texts[:_NAMED_WORDS]))) or "none"
    raise ValueError(f"{name}: {word!r} is not in the prompt; its words are: {there}")


def part_positions(part: PromptPart, tokens: Sequence[Token], name: str = "word") -> tuple[int, ...]:
    """The positions of a part of the prompt.

    Raises
    ------
    ValueError
        If the prompt fills all positions and has no padding.
    """
    kinds = ("pad",) if part is PromptPart.PADDING else ("word", "eos")
    positions = tuple(token.index for token in tokens if token.kind in kinds)
    if not positions:
        raise ValueError(
            f"{name}: {part} is the padding, and this prompt fills all {len(tokens)} positions: it has none"
        )
    return positions


def checked_position(value: int, tokens: Sequence[Token], name: str = "word") -> int:
    """A position before the padding.

    Raises
    ------
    TypeError, ValueError
        If it is not an integer, or is beyond the prompt.
    """
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a word, an index or a PromptPart, got {value!r}") from None
    last = max(token.index for token in tokens if token.kind != "pad")
    if not 0 <= index <= last:
        padding = f"; {PromptPart.PADDING} is the padding behind it" if last < index < len(tokens) else ""
        raise ValueError(f"{name}: {index} is beyond this prompt, whose tokens are 0..{last}{padding}")
    return index


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _spans(parts: list[str], texts: list[str]) -> list[tuple[int, int]]:
    """The ranges (start, end) in which consecutive `texts` spell `parts`."""
    found = []
    for start in range(len(texts) if parts else 0):
        end: int | None = start
        for part in parts:
            end = _spelled(part, texts, end) if end is not None else None
        if end is not None:
            found.append((start, end))
    return found


def _spelled(part: str, texts: list[str], start: int) -> int | None:
    """The end of the words that spell `part` from `start` on, as tokenizers split "dog's" and "v15"; else None."""
    spelled = ""
    for index in range(start, len(texts)):
        if spelled and spelled[-1].isalpha() and texts[index][:1].isalpha():
            return None
        spelled += texts[index]
        if spelled == part:
            return index + 1
        if not part.startswith(spelled):
            return None
    return None
