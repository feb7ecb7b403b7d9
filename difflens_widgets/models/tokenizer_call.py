"""What a tokenizer read in one call: its ids, and the characters of the text that each of them stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from .align import Range, matched, visible

_MOST_PIECES = 8  # that can share a character: it has at most four bytes
_UNKNOWN = "\ufffd"  # what a decoder writes for bytes that are no whole character


@dataclass(frozen=True)
class Piece:
    """One id of a tokenizer's output.

    Attributes
    ----------
    id : int
    text : str
        The piece as the vocabulary has it.
    span : (int, int) or None
        Its characters in the text; None for a piece that the tokenizer added.
    read : bool
        Whether the attention mask has it; padding is not read.
    """

    id: int
    text: str
    span: Range | None
    read: bool


@dataclass(frozen=True)
class TokenizerCall:
    """A call of a tokenizer with one text.

    Attributes
    ----------
    tokenizer : the tokenizer
    text : str
    pieces : tuple of Piece
    truncated : bool
        Whether the text is longer than what was read.
    """

    tokenizer: Any
    text: str
    pieces: tuple[Piece, ...]
    truncated: bool

    @property
    def ids(self) -> list[int]:
        """The ids, with padding."""
        return [piece.id for piece in self.pieces]


def call_of(tokenizer: Any, text: str, output: Any) -> TokenizerCall:
    """The call with `text`, from the tokenizer's output for it (or for a batch that begins with it)."""
    ids = first_row(output["input_ids"])
    mask = first_row(output["attention_mask"]) if "attention_mask" in output else None
    fast = getattr(output, "encodings", None)
    if fast:
        encoding = fast[0]
        spans = [
            None if added else span for span, added in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ]
        mask, truncated = encoding.attention_mask, bool(encoding.overflowing)
    else:
        body = first_row(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        start, length = _place_of(body, ids)
        inside = _spans(tokenizer, text, body[:length])
        spans = [None] * start + inside + [None] * (len(ids) - start - length)
        mask, truncated = mask or _without_padding(tokenizer, ids, start + length), length < len(body)
    words = tokenizer.convert_ids_to_tokens(ids)
    pieces = [Piece(*values[:-1], read=bool(values[-1])) for values in zip(ids, words, spans, mask, strict=True)]
    return TokenizerCall(tokenizer, text, tuple(pieces), truncated)


def first_row(values: Any) -> list[int]:
    """The ids of the first text, from a list, an array or a tensor, of one text or several."""
    values = values.tolist() if hasattr(values, "tolist") else values
    return list(values[0]) if len(values) and isinstance(values[0], Iterable) else list(values)


def _place_of(body: Sequence[int], ids: Sequence[int]) -> tuple[int, int]:
    """Where the text's own ids begin among all, and how many of them are there."""

    def common(start: int) -> int:
        return len([*takewhile(lambda pair: pair[0] == pair[1], zip(body, ids[start:], strict=False))])

    start = max(range(len(ids) or 1), key=lambda at: (common(at), -at))
    return start, common(start)


def _without_padding(tokenizer: Any, ids: Sequence[int], end: int) -> list[int]:
    """The attention mask of a tokenizer that gives none: padding begins behind the end token."""
    marked = end < len(ids) and ids[end] == tokenizer.eos_token_id
    return [int(at < end + marked or token != tokenizer.pad_token_id) for at, token in enumerate(ids)]


def _spans(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Range | None]:
    """The characters of each id of a tokenizer that does not tell: those that it decodes to, in their order."""
    shown: list[str] = []
    group: list[int] = []
    for number, (start, end) in enumerate(groups := list(_whole_characters(tokenizer, ids))):
        chars = _decoded(tokenizer, ids[start:end])
        forms = [_UNKNOWN] if _UNKNOWN in chars else [char for char, _ in visible(chars)]
        shown += forms
        group += [number] * len(forms)
    typed = visible(text)
    found: list[Range | None] = [None] * len(groups)
    for number, (start, end) in zip(group, matched(shown, [char for char, _ in typed]), strict=True):
        if start < end:
            first, last = typed[start][1][0], typed[end - 1][1][1]
            before = found[number]
            found[number] = (before[0], last) if before else (first, last)
    at = 0
    spans: list[Range | None] = []
    for (start, end), span in zip(groups, found, strict=True):
        spans += [span or (at, at)] * (end - start)
        at = max(at, span[1]) if span else at
    return spans


def _whole_characters(tokenizer: Any, ids: Sequence[int]) -> Iterable[Range]:
    """The ranges of ids that decode to whole characters: bytes of one character are decoded together."""
    start = 0
    while start < len(ids):
        alone = _is_unknown(tokenizer, ids[start])
        ends = range(start + 1, min(start + (1 if alone else _MOST_PIECES), len(ids)) + 1)
        whole = (end for end in ends if _UNKNOWN not in _decoded(tokenizer, ids[start:end]))
        end = next(whole, start + 1)
        yield start, end
        start = end


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    if len(ids) == 1 and _is_unknown(tokenizer, ids[0]):
        return _UNKNOWN  # its place alone tells what it stands for
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _is_unknown(tokenizer: Any, token: int) -> bool:
    return token == tokenizer.unk_token_id != tokenizer.eos_token_id  # CLIP's are the same
