"""Finds words in a prompt by its tokens; needs no tokenizer."""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Sequence

from .tokens import Kind, PromptPart, Token, characters, read_words, same_word, word_text

PART_KINDS: dict[PromptPart, tuple[Kind, ...]] = {PromptPart.PADDING: ("pad",), PromptPart.PROMPT: ("word", "eos")}
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
    wanted = plain(" ".join(word.split()))
    if not wanted:
        raise ValueError(f"{name}: {word!r} has no word in it")
    pieces = [token for token in tokens if token.kind == "word"]
    found = [tuple(token.index for token in pieces[start:end]) for start, end in _spelled(wanted, pieces)]
    if found:
        return found
    texts = [word_text(tokens_of_word) for tokens_of_word in read_words(tokens)]
    # the cut may be inside a word, or between two words of a group
    if cut and texts and any(wanted in plain(text) for text in (f"{texts[-1]}{cut}", f"{texts[-1]} {cut}")):
        raise ValueError(f"{name}: {word!r} is cut off: the text encoder reads the prompt up to {texts[-1]!r} only")
    there = ", ".join(dict.fromkeys(map(repr, texts[:_NAMED_WORDS]))) or "none"
    raise ValueError(f"{name}: {word!r} is not in the prompt; its words are: {there}")


def part_positions(part: PromptPart, tokens: Sequence[Token], name: str = "word") -> tuple[int, ...]:
    """The positions of a part of the prompt.

    Raises
    ------
    ValueError
        If the prompt fills all positions and has no padding, or has no words and no end token.
    """
    positions = tuple(token.index for token in tokens if token.kind in PART_KINDS[part])
    if not positions and part is PromptPart.PROMPT:
        raise ValueError(f"{name}: {part} is the words of the prompt, and it has none")
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
    first, last = (choose((t.index for t in tokens if t.kind != "pad"), default=0) for choose in (min, max))
    if not first <= index <= last:
        padding = f"; {PromptPart.PADDING} is the padding beside it" if 0 <= index < len(tokens) else ""
        raise ValueError(f"{name}: {index} is beyond this prompt, whose tokens are {first}..{last}{padding}")
    return index


def plain(text: str) -> str:
    """A text without the differences of case and of Unicode's forms, to compare words."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


_EITHER = "\x00"  # between two tokens without a span: a space, or nothing


def _spelled(wanted: str, tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """The ranges (start, end) of the tokens that spell `wanted`, a plain text, with no letter beside it."""
    line, owner = _line(tokens)
    text, starts, ends = _plain_line(line)
    pattern = f"{_EITHER}?".join(f"[ {_EITHER}]" if char == " " else re.escape(char) for char in wanted)
    found = []
    for match in re.finditer(f"(?=({pattern}))", text):
        first, last = starts[match.start(1)], ends[match.end(1) - 1]
        if first is None or last is None or not (_ends_at(line, owner, first) and _ends_at(line, owner, last)):
            continue
        start, end = owner[first], owner[last - 1] + 1
        if start and not tokens[start - 1].text and not tokens[start - 1].is_continuation:
            start -= 1  # the space before the word is a token of its own
        while end < len(tokens) and not tokens[end].text and tokens[end].is_continuation:
            end += 1  # more bytes of the last character
        found.append((start, end))
    return found


def _line(tokens: Sequence[Token]) -> tuple[str, list[int]]:
    """The words' characters with a space where there is one, and for each character the number of its token."""
    line, owner = "", []
    before, blank = None, False
    for number, token in enumerate(tokens):
        if not token.text:
            blank = blank or not token.is_continuation
            continue
        gap = _gap(before, token, blank) if before else ""
        line += gap + token.text
        owner += [-1] * len(gap) + [number] * len(token.text)
        before, blank = token, False
    return line, owner


def _gap(before: Token, after: Token, blank: bool) -> str:
    if before.span and after.span:
        return "" if before.span[1] >= after.span[0] else " "
    if after.is_continuation and not blank:
        return ""
    return " " if blank or (before.text[-1:].isalpha() and after.text[:1].isalpha()) else _EITHER


def _plain_line(line: str) -> tuple[str, list[int | None], list[int | None]]:
    """The plain text, and for each of its characters where it starts and ends in the line; None inside a character."""
    text: str = ""
    starts: list[int | None] = []
    ends: list[int | None] = []
    for start, end in characters(line):
        form = plain(line[start:end])
        text += form
        starts += [start, *[None] * (len(form) - 1)][: len(form)]
        ends += [*[None] * (len(form) - 1), end][-len(form) :] if form else []
    return text, starts, ends


def _ends_at(line: str, owner: Sequence[int], at: int) -> bool:
    """Whether a token and a word end, or begin, before the character `at` of the line."""
    if at in (0, len(line)):
        return True
    return owner[at - 1] != owner[at] and not same_word(line[at - 1], line[at])
