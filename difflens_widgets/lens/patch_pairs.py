"""Finds the positions that a patch exchanges, from pairs of words or positions of two prompts; runs no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ..runs.tokens import PromptPart, Token, read_words, word_text
from ..runs.variant import Variant
from ..runs.words import positions_of
from .methods import Pairs

Place = int | str | PromptPart | Sequence[int]
"""A position, a word or several consecutive words, a part of the prompt, or several positions."""
PairChoice = str | Mapping[Any, Any] | Iterable[tuple[Place, Place]]

ALL, DIFFERENT = "all", "different"
_NAMES = {"bos": "start", "eos": "end", "pad": "padding"}


def patch_pairs(
    choice: PairChoice,
    prompt: tuple[Sequence[Token], str],
    source: tuple[Sequence[Token], str],
) -> dict[Variant, Pairs]:
    """The positions that `tokens=` of a patch exchanges, by the label of each variant, such as "red ← blue".

    Parameters
    ----------
    choice : mapping of place → place, iterable of (place, place), "different" or "all"
        A place in the prompt, and the place of the source whose states it gets. "different": the words in which prompts
        of equally many words differ. "all": all positions.
    prompt, source : (tokens, cut)
        What the text encoder reads of each, and the part that is cut off.

    Raises
    ------
    ValueError, TypeError
        If a place is not there, if the two places of a pair have different numbers of positions, or if a pair is given
        twice.
    """
    (mine, cut), (theirs, _) = prompt, source
    if choice == ALL:
        items: list[Any] = [(range(len(mine)), range(len(theirs)))]
    elif choice == DIFFERENT:
        items = _different(mine, theirs)
    elif isinstance(choice, str) or not isinstance(choice, Iterable):
        raise TypeError(
            f'tokens: expected pairs such as {{"red": "blue"}} (the prompt\'s word, the source\'s word), '
            f'"different" or "all", got {choice!r}'
        )
    else:
        items = list(choice.items() if isinstance(choice, Mapping) else choice)
    if not items:
        raise ValueError('tokens: empty; give pairs such as {"red": "blue"}, or "all"')
    found: dict[Pairs, tuple[str, str]] = {}
    for item in items:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise TypeError(f"tokens: expected a pair (place in the prompt, place in the source), got {item!r}")
        left, right = _positions(item[0], mine, "prompt", cut), _positions(item[1], theirs, "source", "")
        if len(left) != len(right):
            _refuse_lengths(_said(item[0], left), len(left), _said(item[1], right), len(right))
        pairs = tuple(zip(left, right, strict=True))
        if pairs in found:
            raise ValueError(f"tokens: the pair {item[0]!r}, {item[1]!r} is given twice")
        found[pairs] = (_text(left, mine), _text(right, theirs))
    if choice == ALL:
        return {Variant("all positions"): next(iter(found))}
    texts = list(found.values())
    return {
        Variant(_label(pairs, text, texts.count(text) > 1), number): pairs
        for number, (pairs, text) in enumerate(found.items())
    }


def _label(pairs: Pairs, text: tuple[str, str], several: bool) -> str:
    """Such as "red ← blue"; with the positions if `several` pairs have this text."""
    if not several:
        return " ← ".join(text)
    (mine, theirs), (left, right) = pairs[0], text
    return f"{left} ({mine}) ← {right} ({theirs})"


def _different(mine: Sequence[Token], theirs: Sequence[Token]) -> list[tuple[Place, Place]]:
    """The words that stand at the same place of both prompts and are not the same."""
    words, others = read_words(mine), read_words(theirs)
    if len(words) != len(others):
        raise ValueError(
            f"tokens: the prompt has {len(words)} words and the source {len(others)}, so it is not clear which belong "
            f'together; give pairs such as "red" and "blue", or "all"'
        )
    pairs = [(word, other) for word, other in zip(words, others, strict=True) if word_text(word) != word_text(other)]
    if not pairs:
        raise ValueError("tokens: the prompt and the source have the same words")
    for word, other in pairs:
        if len(word) != len(other):
            _refuse_lengths(repr(word_text(word)), len(word), repr(word_text(other)), len(other))
    return [([token.index for token in word], [token.index for token in other]) for word, other in pairs]


def _refuse_lengths(mine: str, count: int, theirs: str, other: int) -> NoReturn:
    raise ValueError(
        f"tokens: {mine} and the source's {theirs} have {count} and {other} tokens; a pair must have as many on both "
        "sides"
    )


def _positions(place: Any, tokens: Sequence[Token], which: str, cut: str) -> tuple[int, ...]:
    """The positions of one side of a pair; padding may be named by position too."""
    name = f"tokens, in the {which}"
    if isinstance(place, (str, PromptPart)):
        return positions_of(place, tokens, name, cut)
    given = tuple(place) if isinstance(place, Iterable) else (place,)
    for position in given:
        if isinstance(position, bool) or not hasattr(position, "__index__"):
            raise TypeError(f"{name}: expected a word, a position, or several positions, got {place!r}")
        if not 0 <= position < len(tokens):
            raise ValueError(f"{name}: position {position} is outside 0..{len(tokens) - 1}")
    if not given:
        raise ValueError(f"{name}: {place!r} holds no position")
    if len(set(given)) < len(given):
        raise ValueError(f"{name}: {place!r} names a position twice")
    return tuple(int(position) for position in given)


def _said(place: Any, positions: tuple[int, ...]) -> str:
    return repr(place) if isinstance(place, (str, int, PromptPart)) else f"positions {list(positions)[:5]}…"


def _text(positions: tuple[int, ...], tokens: Sequence[Token]) -> str:
    """The words at some positions; each special token by the name of its kind."""
    text = ""
    for position in positions:
        token = tokens[position]
        name = _NAMES.get(token.kind)
        if name is None:
            text += ("" if token.is_continuation else " ") + token.text
        elif not text.endswith(f" {name}"):
            text += f" {name}"
    return text.strip()
