"""What a caption of the embedded model's world claims, and whether a picture that was read bears it out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .judge import Reading
from .scenes import COLOURS, COUNTS, KINDS, RELATIONS, plural

_COLOUR = "|".join(COLOURS)
_KINDS_OF_PLURALS = {plural(kind): kind for kind in KINDS}
_THING = rf"(?:an? )?(?:(?:small|big) )?(?:({_COLOUR}) )?({'|'.join(KINDS)})"
_CAPTION = re.compile(
    r"(?:a (?:photo|picture) of )?"
    rf"(?:({'|'.join(COUNTS.values())}) (?:({_COLOUR}) )?({'|'.join(_KINDS_OF_PLURALS)})"
    rf"|{_THING}(?: (and|{'|'.join(RELATIONS)}) {_THING})?)"
    rf"(?: on an? ({_COLOUR}) background)?"
)
_NUMBERS = {word: number for number, word in COUNTS.items()}


@dataclass(frozen=True)
class Claim:
    """What a caption says; None or 1 where it says nothing of that.

    `things` are the kinds, each with its colour or None; `count` is of the only kind there is then.
    """

    things: dict[str, str | None]
    count: int = 1
    relation: str | None = None
    background: str | None = None

    @property
    def colours(self) -> dict[str, str]:
        """The colours that are claimed, by kind."""
        return {kind: colour for kind, colour in self.things.items() if colour}


def read_caption(caption: str) -> Claim:
    """Read a caption such as `scenes.sample_scene` writes; articles, sizes, colours and the background may be missing.

    Raises
    ------
    ValueError
        If it is none, or has two things of one kind, which the judge does not tell apart.
    """
    match = _CAPTION.fullmatch(" ".join(caption.lower().split()))
    if not match:
        raise ValueError(
            f"prompt: {caption!r} is no caption of the embedded model's world, such as 'a red circle', "
            "'two blue dogs' or 'a red circle above a blue dog on a white background'"
        )
    number, colour_of_all, kinds, colour, kind, relation, second_colour, second, background = match.groups()
    if number:
        return Claim({_KINDS_OF_PLURALS[kinds]: colour_of_all}, _NUMBERS[number], None, background)
    if kind == second:
        raise ValueError(f"prompt: {caption!r} has two things of one kind, which the judge does not tell apart")
    things = {kind: colour, **({second: second_colour} if second else {})}
    return Claim(things, 1, None if relation == "and" else relation, background)


def kinds_right(claim: Claim, reading: Reading) -> bool:
    """All kinds are there; there may be others."""
    return claim.things.keys() <= reading.things.keys()


def colours_right(claim: Claim, reading: Reading) -> bool:
    """All kinds whose colour is claimed are there, each in its colour."""
    seen = {kind: thing.colour for kind, thing in reading.things.items()}
    return claim.colours.items() <= seen.items()


def hues_right(claim: Claim, reading: Reading) -> bool:
    """All colours are there, on whatever kind of thing."""
    return {*claim.colours.values()} <= {thing.colour for thing in reading.things.values()}


def count_right(claim: Claim, reading: Reading) -> bool:
    """The kind is there as often as claimed."""
    return all(kind in reading.things and reading.things[kind].count == claim.count for kind in claim.things)


def relation_right(claim: Claim, reading: Reading) -> bool:
    """Both kinds are there, and stand as claimed."""
    first, second = claim.things
    return reading.relation(first, second) == claim.relation


def background_right(claim: Claim, reading: Reading) -> bool:
    """The background has its colour."""
    return reading.background == claim.background


def everything_right(claim: Claim, reading: Reading) -> bool:
    """All that the caption claims is there, and no other kind of thing."""
    asked = [check for name, check in QUESTIONS.items() if name != "everything" and is_claimed(name, claim)]
    return claim.things.keys() == reading.things.keys() and all(check(claim, reading) for check in asked)


QUESTIONS: dict[str, Callable[[Claim, Reading], bool]] = {
    "kinds": kinds_right,
    "colours": colours_right,
    "hues": hues_right,
    "count": count_right,
    "relation": relation_right,
    "background": background_right,
    "everything": everything_right,
}


def is_claimed(question: str, claim: Claim) -> bool:
    """Whether the caption says anything that the question is about."""
    said: dict[str, object] = {
        "colours": claim.colours,
        "hues": claim.colours,
        "count": claim.count > 1,
        "relation": claim.relation,
        "background": claim.background,
    }
    return bool(said.get(question, True))
