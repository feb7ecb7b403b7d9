"""Which position of the empty prompt stands for a position of the prompt, in the per-token lens."""

from __future__ import annotations

from collections.abc import Sequence

from ..runs.tokens import Token


def positions_in_empty(tokens: Sequence[Token], empty: Sequence[Token]) -> tuple[int, ...]:
    """For each position of the prompt, the position of the empty prompt whose state takes its place.

    Without a template, and with padding to one length, it is the same position: padding, or the end token. Else the
    template before and after the words, and the padding, keep their own tokens; in the place of a word is the first
    token behind the words, which the encoder reads at once in the empty prompt.

    Parameters
    ----------
    tokens, empty : sequence of Token
        How one encoder reads the prompt and the empty prompt.
    """
    if len(tokens) == len(empty) and not any(token.kind == "template" for token in tokens):
        return tuple(range(len(tokens)))
    read, read_empty = (_read(each) for each in (tokens, empty))
    words = [at for at, token in enumerate(tokens) if token.kind == "word"]
    before = sum(at < words[0] for at in read) if words else len(read)
    after = sum(at > words[-1] for at in read) if words else 0
    behind = read_empty[min(before, len(read_empty) - 1)] if read_empty else 0
    pads = [at for at in range(len(empty)) if at not in set(read_empty)] or [behind]
    found = [behind] * len(tokens)
    found_pads = [at for at in range(len(tokens)) if at not in set(read)]
    for number, at in enumerate(found_pads):
        found[at] = pads[min(number, len(pads) - 1)]
    for number in range(min(before, len(read_empty))):
        found[read[number]] = read_empty[number]
    for number in range(1, min(after, len(read_empty)) + 1):
        found[read[-number]] = read_empty[-number]
    return tuple(found)


def _read(tokens: Sequence[Token]) -> list[int]:
    return [at for at, token in enumerate(tokens) if token.kind != "pad"]
