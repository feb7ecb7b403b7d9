"""What a text encoder reads of a prompt that is too long for it."""

from __future__ import annotations

from ..runs.tokens import same_word

_ELLIPSIS = "…"


def read_part(prompt: str, cut: str) -> tuple[str, str]:
    """The words that are read in full, and what is cut off: after "…" if it begins within a word.

    Parameters
    ----------
    prompt : str
    cut : str
        What is cut off, with or without "…"; "" if nothing is.
    """
    cut = cut.removeprefix(_ELLIPSIS)
    start = prompt.rfind(cut) if cut else len(prompt)
    if not 0 < start < len(prompt) or not same_word(prompt[start - 1], prompt[start], digits=True):
        return prompt[: max(start, 0)], cut
    while start and same_word(prompt[start - 1], prompt[start], digits=True):
        start -= 1
    return prompt[:start], _ELLIPSIS + cut
