"""Which places of a prompt the per-token lens keeps: from words, indices and parts to places, before any compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..models import checks
from ..runs.tokens import PromptPart, Token, TokenKey, read_words, word_text

TokenChoice = int | str | PromptPart | Iterable[int | str | PromptPart]
Tokenize = Callable[[str], tuple[tuple[Token, ...], str]]

EVERY_WORD = "all"  # alone; in a list it is the word "all"
_NAMED_WORDS = 40  # words that an error names


def token_positions(choice: TokenChoice | None, prompt: str, tokenize: Tokenize) -> dict[TokenKey, tuple[int, ...]]:
    """What `keep_tokens=` asks for, as places of `prompt`.

    Parameters
    ----------
    choice : int, str, PromptPart, an iterable of these, or None
        An index of the prompt's tokens; a word, or several that follow one another (every occurrence, each by
        itself, with all its pieces); a `PromptPart`; or "all" alone: each word in turn. None: nothing.
    prompt : str
    tokenize : callable
        The family's: text → tokens, and the part that was cut off. Prompt and words are read in this one way, so that
        capitals, accents and punctuation mean to the lens what they mean to the encoder.

    Returns
    -------
    dict of token → tuple of int
        In the order asked. A token is the index of the first piece, or the PromptPart.

    Raises
    ------
    ValueError, TypeError
        If the prompt does not have what is asked for, it is asked for twice, or nothing is.
    """
    if choice is None:
        return {}
    tokens, cut = tokenize(prompt)
    asked: list[Any] = (
        [choice] if isinstance(choice, (str, PromptPart)) or not isinstance(choice, Iterable) else [*choice]
    )
    if not asked:
        raise ValueError('keep_tokens: empty; give some words or indices, "all" for each word, or None for none')
    kept: dict[TokenKey, tuple[int, ...]] = {}
    sources: dict[TokenKey, Any] = {}
    for item in asked:
        for token, places in _find(item, tokens, cut, tokenize, every=choice == EVERY_WORD):
            if token in kept:
                raise ValueError(
                    f"keep_tokens: {_described(token, tokens)} is asked for twice, "
                    f"by {sources[token]!r} and by {item!r}"
                )
            kept[token], sources[token] = places, item
    return kept


def _find(
    item: Any, tokens: Sequence[Token], cut: str, tokenize: Tokenize, *, every: bool
) -> Iterator[tuple[TokenKey, tuple[int, ...]]]:
    """The places of one thing that was asked for; several where a word stands several times."""
    if isinstance(item, PromptPart):
        yield item, _part(item, tokens)
    elif isinstance(item, str):
        words = read_words(tokens)
        if every and not words:
            raise ValueError(
                f'keep_tokens: "{EVERY_WORD}" is each word of the prompt in turn, and this one has no words'
            )
        for found in [[word] for word in words] if every else _occurrences(item, words, cut, tokenize):
            places = tuple(token.index for word in found for token in word)
            yield places[0], places
    else:
        index = _index(item, tokens)
        yield index, (index,)


def _part(part: PromptPart, tokens: Sequence[Token]) -> tuple[int, ...]:
    kinds = ("pad",) if part is PromptPart.PADDING else ("word", "eos")
    places = tuple(token.index for token in tokens if token.kind in kinds)
    if not places:  # a prompt that fills every place
        raise ValueError(
            f"keep_tokens: {part} keeps the padding, and this prompt fills all {len(tokens)} places: it has none"
        )
    return places


def _index(item: Any, tokens: Sequence[Token]) -> int:
    try:
        index = checks.as_int("keep_tokens", item)
    except TypeError:
        raise TypeError(f"keep_tokens: expected words, indices or a PromptPart, got {item!r}") from None
    last = max(token.index for token in tokens if token.kind != "pad")
    if not 0 <= index <= last:
        padding = f"; {PromptPart.PADDING} keeps the padding behind it" if last < index < len(tokens) else ""
        raise ValueError(f"keep_tokens: {index} is beyond this prompt, whose tokens are 0..{last}{padding}")
    return index


def _occurrences(
    item: str, words: list[tuple[Token, ...]], cut: str, tokenize: Tokenize
) -> list[list[tuple[Token, ...]]]:
    wanted = _texts(item, tokenize)
    if not wanted:
        raise ValueError(f"keep_tokens: {item!r} has no word in it")
    texts = [word_text(word) for word in words]
    starts = _starts(wanted, texts)
    if not starts:
        # a word may be cut in two, or a group of words between two of them
        beyond = (f"{texts[-1]}{cut}", f"{texts[-1]} {cut}") if cut else ()
        if any(_starts(wanted, _texts(text, tokenize)) for text in beyond):
            raise ValueError(
                f"keep_tokens: {item!r} is cut off: the text encoder reads the prompt up to {texts[-1]!r} only"
            )
        there = ", ".join(dict.fromkeys(map(repr, texts[:_NAMED_WORDS]))) or "none"
        raise ValueError(f"keep_tokens: {item!r} is not in the prompt; its words are: {there}")
    return [words[start : start + len(wanted)] for start in starts]


def _texts(text: str, tokenize: Tokenize) -> list[str]:
    return [word_text(word) for word in read_words(tokenize(text)[0])]


def _starts(wanted: list[str], texts: list[str]) -> list[int]:
    """Where the words `wanted` stand in `texts` one behind the other."""
    return [start for start in range(len(texts)) if texts[start : start + len(wanted)] == wanted]


def _described(token: TokenKey, tokens: Sequence[Token]) -> str:
    return str(token) if isinstance(token, PromptPart) else f"place {token} ({tokens[token].text!r})"


def word_positions(word: int | str | PromptPart, prompt: str, tokenize: Tokenize, name: str) -> tuple[int, ...]:
    """The places of one word (or index, or part) that stands in `prompt` once; `name` is what errors call it.

    Raises
    ------
    ValueError, TypeError
        As `token_positions`, and if the word stands there several times.
    """
    try:
        found = token_positions([word], prompt, tokenize)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {str(error).removeprefix('keep_tokens: ')}") from None
    if len(found) > 1:
        places = ", ".join(map(str, found))
        raise ValueError(f"{name}: {word!r} stands {len(found)} times in the prompt; give one of its places: {places}")
    return next(iter(found.values()))
