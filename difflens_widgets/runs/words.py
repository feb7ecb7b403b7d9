"""Finds a word in a recorded prompt, without its tokenizer: a record is read where there is none."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Sequence

from .tokens import PromptPart, Token, read_words, word_text


def places_of(word: int | str | PromptPart, tokens: Sequence[Token]) -> tuple[int, ...]:
    """The places of one word, or of several that follow one another, in `tokens`.

    A word is found with all its pieces, whatever its capitals. An index is a place, and only that; a `PromptPart` is
    that part of the prompt.

    Raises
    ------
    ValueError, TypeError
        If the prompt does not have it, or has it several times.
    """
    if isinstance(word, PromptPart):
        kinds = ("pad",) if word is PromptPart.PADDING else ("word", "eos")
        places = tuple(token.index for token in tokens if token.kind in kinds)
        if not places:
            raise ValueError(f"word: {word} is the padding, and this prompt fills all {len(tokens)} places")
        return places
    if not isinstance(word, str):
        return (_index(word, tokens),)
    words = read_words(tokens)
    texts = [_plain(word_text(pieces)) for pieces in words]
    found = _occurrences([_plain(part) for part in word.split()], texts)
    if not found:
        there = ", ".join(dict.fromkeys(repr(word_text(pieces)) for pieces in words)) or "none"
        raise ValueError(f"word: {word!r} is not in the prompt; its words are: {there}")
    if len(found) > 1:
        starts = ", ".join(str(words[start][0].index) for start, _ in found)
        raise ValueError(f"word: {word!r} stands {len(found)} times in the prompt; give one of its places: {starts}")
    start, end = found[0]
    return tuple(token.index for pieces in words[start:end] for token in pieces)


def _index(value: int, tokens: Sequence[Token]) -> int:
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"word: expected a word, an index or a PromptPart, got {value!r}") from None
    last = sum(token.kind != "pad" for token in tokens) - 1
    if not 0 <= index <= last:
        raise ValueError(
            f"word: {index} is beyond this prompt, whose tokens are 0..{last}; PromptPart.PADDING is what follows"
        )
    return index


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _occurrences(parts: list[str], texts: list[str]) -> list[tuple[int, int]]:
    """Where `parts` stand in `texts` one behind the other, as (start, end)."""
    found = []
    for start in range(len(texts) if parts else 0):
        end: int | None = start
        for part in parts:
            end = _spelled(part, texts, end) if end is not None else None
        if end is not None:
            found.append((start, end))
    return found


def _spelled(part: str, texts: list[str], start: int) -> int | None:
    """Behind the words that spell `part` from `start` on: tokenizers cut "dog's" and "v15", but not between letters."""
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
