"""Where the characters of a text that was changed on its way come from: lower case, Unicode's forms, other spaces."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from ..runs.tokens import characters

Range = tuple[int, int]


def align(read: str, typed: str) -> list[Range]:
    """For each character of `read` the range of `typed` that it stands for; an empty one for a character of its own."""
    if read == typed:
        return [(at, at + 1) for at in range(len(typed))]
    theirs, ours = visible(read), visible(typed)
    found = matched([char for char, _ in theirs], [char for char, _ in ours])
    result: list[Range] = []
    end = 0
    for (_, (first, last)), (start, stop) in zip(theirs, found, strict=True):
        result += [(end, end)] * (first - len(result))  # spaces
        start_at = ours[start][1][0] if start < len(ours) else len(typed)
        at = (start_at, ours[stop - 1][1][1]) if start < stop else (end, end)
        result += [at] * (last - len(result))
        end = max(end, at[1])
    return result + [(end, end)] * (len(read) - len(result))


def visible(text: str) -> list[tuple[str, Range]]:
    """The characters without spaces, in a form without case, and where each comes from."""
    found = []
    for start, end in characters(text):
        form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text[start:end]).casefold())
        found += [(char, (start, end)) for char in form if not char.isspace()]
    return found


def matched(read: Sequence[str], typed: Sequence[str]) -> list[Range]:
    """For each item of `read` the range of items of `typed` that it stands for, in ascending order.

    What is equal stands for itself. Between that, what is different stands for what is in its place.
    """
    found: list[Range] = []
    # autojunk would take a letter that is frequent for noise
    for what, a, b, c, d in SequenceMatcher(None, read, typed, autojunk=False).get_opcodes():
        if what == "equal" or b - a == d - c:
            found += [(c + at, c + at + 1) for at in range(b - a)]
        else:
            found += [(c, d)] * (b - a)
    return found
