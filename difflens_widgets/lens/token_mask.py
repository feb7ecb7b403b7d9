"""Finds the positions that the per-token lens keeps, from words, indices and parts of the prompt; runs no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..runs.tokens import PromptPart, Token, TokenKey, read_words
from ..runs.words import PART_KINDS, checked_position, occurrences, part_positions

TokenChoice = int | str | PromptPart | Iterable[int | str | PromptPart]
Tokenize = Callable[[str], tuple[tuple[Token, ...], str]]

EVERY_WORD = "all"  # as a plain string; in a list it is the word "all"


def token_positions(choice: TokenChoice | None, prompt: str, tokenize: Tokenize) -> dict[TokenKey, tuple[int, ...]]:
    """The positions in `prompt` that `keep_tokens=` selects.

    Parameters
    ----------
    choice : int, str, PromptPart, an iterable of these, or None
        A position; a word or several consecutive words (every occurrence gives its own item, with all its sub-word
        tokens); a `PromptPart`; or the string "all": each word in turn. None: nothing.
    prompt : str
    tokenize : callable
        That of the text encoder: text → tokens, and the part that was cut off.

    Returns
    -------
    dict of token → tuple of int
        In the requested order. The key is the position of the first sub-word token, or the PromptPart.

    Raises
    ------
    ValueError, TypeError
        If the prompt does not contain an item, if an item is given twice, or if there is none.
    """
    if choice is None:
        return {}
    tokens, cut = tokenize(prompt)
    asked: list[Any] = (
        [choice] if isinstance(choice, (str, bytes, PromptPart)) or not isinstance(choice, Iterable) else [*choice]
    )
    if not asked:
        raise ValueError('keep_tokens: empty; give some words or indices, "all" for each word, or None for none')
    kept: dict[TokenKey, tuple[int, ...]] = {}
    sources: dict[TokenKey, Any] = {}
    for item in asked:
        for token, positions in _find(item, tokens, cut, every=choice == EVERY_WORD):
            if token in kept:
                raise ValueError(
                    f"keep_tokens: {_described(token, tokens)} is asked for twice, "
                    f"by {sources[token]!r} and by {item!r}"
                )
            kept[token], sources[token] = positions, item
    return kept


def kept_positions(
    masks: Mapping[TokenKey, Sequence[int]], encoder: str, tokens: Mapping[str, Sequence[Token]]
) -> dict[TokenKey, dict[str, frozenset[int]]]:
    """What each encoder keeps for each of `masks`, with its start token.

    Every encoder has its own positions: a word may be one token for one, and several for another one.

    Parameters
    ----------
    masks : mapping of token → positions
        Of the examined encoder.
    encoder : str
        Its name.
    tokens : mapping of encoder → tokens
        How each encoder reads the same prompt.
    """

    def kept(key: TokenKey, positions: Sequence[int], name: str) -> frozenset[int]:
        starts = [token.index for token in tokens[name] if token.kind == "bos"]
        if name != encoder:
            positions = _same_characters(key, [tokens[encoder][at] for at in positions], tokens[name])
        return frozenset([*starts, *positions])

    return {key: {name: kept(key, positions, name) for name in tokens} for key, positions in masks.items()}


def _same_characters(key: TokenKey, chosen: Sequence[Token], tokens: Sequence[Token]) -> list[int]:
    """The positions of the tokens with the same characters of the prompt, or of the same kind if they have none."""
    if isinstance(key, PromptPart):
        return [token.index for token in tokens if token.kind in PART_KINDS[key]]
    kinds = {token.kind for token in chosen} & {"bos", "eos"}
    spans = [token.span for token in chosen if token.span]
    return [t.index for t in tokens if t.kind in kinds or any(t.span and _meet(t.span, span) for span in spans)]


def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two spans share a character; one that is empty belongs to both of its neighbours."""
    start, end = max(a[0], b[0]), min(a[1], b[1])
    return start < end or (start == end and (a[0] == a[1] or b[0] == b[1]))


def _find(item: Any, tokens: Sequence[Token], cut: str, *, every: bool) -> Iterator[tuple[TokenKey, tuple[int, ...]]]:
    """The positions of one item; several results if a word occurs several times."""
    if isinstance(item, (bool, bytes)):
        raise TypeError(f"keep_tokens: expected a word or a position of the prompt, got {item!r}")
    if isinstance(item, PromptPart):
        yield item, part_positions(item, tokens, "keep_tokens")
    elif isinstance(item, str):
        words = [tuple(token.index for token in word) for word in read_words(tokens)]
        if every and not words:
            raise ValueError(f'keep_tokens: "{EVERY_WORD}" is each word of the prompt in turn, and it has no words')
        for positions in words if every else occurrences(item, tokens, "keep_tokens", cut):
            yield positions[0], positions
    else:
        index = checked_position(item, tokens, "keep_tokens")
        yield index, (index,)


def _described(token: TokenKey, tokens: Sequence[Token]) -> str:
    return str(token) if not isinstance(token, int) else f"position {token} ({tokens[token].text!r})"
