"""The tokens of a prompt that a text encoder reads, each with the user's own characters.

The ids are those that the pipeline itself gives to the encoder, with its template, padding and cuts. Which characters
a token stands for is never read from its decoded text: two characters that a tokenizer does not know decode alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..runs.tokens import Kind, Token, extends, same_word
from .align import Range, align
from .encode_prompt import EncoderInput, encoder_input
from .family import TextEncoder
from .tokenizer_call import Piece, TokenizerCall, call_of

_MARKER = "qzxwvkjq"  # a prompt that is in no template


def read_prompt(pipe: Any, encoder: TextEncoder, prompt: str) -> tuple[tuple[Token, ...], str]:
    """The tokens that an encoder of a view's pipeline is given, and the part of `prompt` that is cut off, or "".

    Parameters
    ----------
    pipe : the pipeline of a `PipelineView`
        Its tokenizers tell what they read.
    encoder : TextEncoder
    prompt : str
    """
    given = encoder_input(pipe, encoder.name, prompt)
    call = _call_in(given)
    if given is None or call is None:  # the pipeline's own `encode_prompt` makes the ids in its own way
        return read_typed(pipe, getattr(pipe, encoder.tokenizer), prompt)
    around = ("", "")
    if call.text != prompt:
        marked = _call_in(encoder_input(pipe, encoder.name, _MARKER))
        before, found, after = marked.text.partition(_MARKER) if marked else ("", "", "")
        around = (before, after) if found and call.text.startswith(before) and call.text.endswith(after) else around
    if len(given.ids) < len(call.pieces):
        call = replace(call, truncated=True)
    return _tokens(prompt, call, _placed(call, given), around)


def read_typed(pipe: Any, tokenizer: Any, prompt: str, length: int | None = None) -> tuple[tuple[Token, ...], str]:
    """The tokens of a prompt without a template, padded to `length` or the tokenizer's limit, and what is cut off."""
    converts = hasattr(pipe, "maybe_convert_prompt")  # textual inversion: one word may have several vectors
    text = pipe.maybe_convert_prompt(prompt, tokenizer) if converts else prompt
    limit = length or tokenizer.model_max_length
    call = call_of(tokenizer, text, tokenizer(text, padding="max_length", max_length=limit, truncation=True))
    return _tokens(prompt, call, call.pieces, ("", ""))


def _call_in(given: EncoderInput | None) -> TokenizerCall | None:
    """The tokenizer's call that made (most of) what the encoder is given."""
    calls = [call for call in (given.calls if given else []) if given and _shift(call.ids, given.ids) is not None]
    return max(calls, key=lambda call: (given is not None and call.ids == given.ids, len(call.pieces)), default=None)


def _shift(ids: Sequence[int], given: Sequence[int]) -> int | None:
    """Where the ids begin among those given to the encoder; negative if the first ones were dropped. None: nowhere."""
    inside, outside = (ids, given) if len(ids) <= len(given) else (given, ids)
    for start in range(len(outside) - len(inside) + 1):
        if list(outside[start : start + len(inside)]) == list(inside):
            return start if inside is ids else -start
    return None


def _placed(call: TokenizerCall, given: EncoderInput) -> list[Piece]:
    """The pieces at the encoder's positions; the pipeline may add and drop some."""
    shift = _shift(call.ids, given.ids) or 0
    padding = call.tokenizer.pad_token_id
    pieces = []
    for at, token in enumerate(given.ids):
        read = token != padding if given.mask is None else bool(given.mask[at])
        known = 0 <= at - shift < len(call.pieces)
        text = call.tokenizer.convert_ids_to_tokens(token) if not known else ""
        pieces.append(call.pieces[at - shift] if known else Piece(token, text, None, read))
    return pieces


def _tokens(
    prompt: str, call: TokenizerCall, pieces: Sequence[Piece], around: tuple[str, str]
) -> tuple[tuple[Token, ...], str]:
    typed = _typed_ranges(prompt, call, around)
    spans = _with_accents([_typed_span(piece, typed, call, prompt) for piece in pieces], prompt)
    words = [at for at, span in enumerate(spans) if span is not None]
    first, last = (words[0], words[-1]) if words else (len(spans), -1)
    added = set(call.tokenizer.get_added_vocab().values())
    marks_ends = any(piece.text.endswith("</w>") for piece in pieces)
    tokens: list[Token] = []
    covered, open_word = 0, False
    for at, (piece, span) in enumerate(zip(pieces, spans, strict=True)):
        if span is None:
            has_start = any(token.kind == "bos" for token in tokens)
            kind = _kind_of(piece, call.tokenizer, at < first and not has_start, at > last)
            text = call.text[slice(*piece.span)] if piece.span else piece.text
            tokens.append(Token(at, text, kind))
            continue
        start, end = span
        text = prompt[max(start, covered) : end].strip() if end > covered else ""
        before = tokens[-1] if tokens and tokens[-1].kind == "word" else None
        goes_on = before is not None and _goes_on(prompt, before, span, open_word and piece.id not in added, marks_ends)
        if not text and before is not None and not prompt[start:].strip():
            goes_on = True  # a space at the end
        tokens.append(Token(at, text, "word", goes_on, span))
        covered = max(covered, end)
        open_word = marks_ends and not piece.text.endswith("</w>") and piece.id not in added
    return tuple(tokens), prompt[covered:].strip() if call.truncated else ""


def _goes_on(prompt: str, before: Token, span: Range, open_word: bool, marks_ends: bool) -> bool:
    """Whether a token continues the word of the token before it: it stands next to it, and no word ends between."""
    assert before.span is not None
    (_, end), start = before.span, span[0]
    if start < end or span == (end, end):  # bytes of one character; or a vector that the pipeline added
        return True
    if start > end:
        return False
    if open_word or (not before.text and not before.is_continuation):  # after a space that is a token
        return True
    return bool(prompt[:end]) and same_word(prompt[end - 1], prompt[start], digits=not marks_ends)


def _kind_of(piece: Piece, tokenizer: Any, may_start: bool, may_end: bool) -> Kind:
    """The kind of a token that is no word."""
    if not piece.read:
        return "pad"
    if piece.span is None and may_start and piece.id == tokenizer.bos_token_id:
        return "bos"
    if piece.span is None and may_end and piece.id == tokenizer.eos_token_id:
        return "eos"
    return "template"


def _typed_ranges(prompt: str, call: TokenizerCall, around: tuple[str, str]) -> list[Range | None]:
    """For each character of the tokenizer's text the range of the prompt's characters that it stands for."""
    before, after = (len(part) for part in around)
    read = call.text[before : len(call.text) - after]
    short, source = _contracted(read, call.tokenizer)
    aligned = [*align(short, prompt), (len(prompt), len(prompt))]
    inner: list[Range | None] = [aligned[at] if own else (aligned[at][0],) * 2 for at, own in source]
    return [*[None] * before, *inner, *[None] * after]


def _contracted(text: str, tokenizer: Any) -> tuple[str, list[tuple[int, bool]]]:
    """The text with one token for each textual inversion; where each character is in it, and whether it is there.

    A textual inversion of several vectors is written as "<cat> <cat>_1 <cat>_2" by `maybe_convert_prompt`.
    """
    vocabulary = tokenizer.get_added_vocab()
    several = sorted((word for word in vocabulary if f"{word}_1" in vocabulary), key=len, reverse=True)
    if not several:
        return text, [(at, True) for at in range(len(text))]
    extra = re.compile("|".join(rf"(?<={re.escape(word)})(?: {re.escape(word)}_\d+)+" for word in several))
    short, source, end = "", [], 0
    for match in extra.finditer(text):
        source += [(len(short) + at, True) for at in range(match.start() - end)]
        short += text[end : match.start()]
        source += [(len(short), False)] * len(match[0])
        end = match.end()
    source += [(len(short) + at, True) for at in range(len(text) - end)]
    return short + text[end:], source


def _typed_span(piece: Piece, typed: Sequence[Range | None], call: TokenizerCall, prompt: str) -> Range | None:
    """The characters of the prompt that a piece stands for, without spaces; None: it is no part of the prompt."""
    if piece.span is None:
        return None
    start, end = piece.span
    # a tokenizer may also write the space in front of the text, and say that it stands for the first letter
    if piece.text == "▁" or (start < end and not call.text[start:end].strip()):
        at = typed[start] if start < len(typed) else None
        return at and (at[0] + _spaces(prompt[at[0] :]),) * 2  # it belongs to the word after it
    ranges = [each for each in typed[start:end] if each is not None]
    seen = [(a, b) for a, b in ranges if prompt[a:b].strip()]
    if seen:
        first, last = min(a for a, _ in seen), max(b for _, b in seen)
        return first + _spaces(prompt[first:last]), last
    # the pipeline wrote it, or the tokenizer does not tell what it stands for: it belongs to the word before it
    before = ranges if start < end else [each for each in typed[max(0, start - 1) : start] if each is not None]
    if not before:
        return None
    at_end = len(prompt[: max(b for _, b in before)].rstrip())
    return at_end, at_end


def _with_accents(spans: Sequence[Range | None], prompt: str) -> list[Range | None]:
    """The spans with the accents that the tokenizer joined to their letter, so that no piece has them."""
    taken = {at for span in spans if span for at in range(*span)}

    def end_of(end: int) -> int:
        while end < len(prompt) and end not in taken and extends(prompt[end]):
            end += 1
        return end

    return [(span[0], end_of(span[1])) if span and span[0] < span[1] else span for span in spans]


def _spaces(text: str) -> int:
    return len(text) - len(text.lstrip())
