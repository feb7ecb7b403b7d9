"""Which position of the empty prompt stands in for a position of the prompt."""

from __future__ import annotations

from difflens_widgets.lens.empty_positions import positions_in_empty
from difflens_widgets.runs.tokens import Kind, Token

_KINDS: dict[str, Kind] = {"b": "bos", "w": "word", "e": "eos", "p": "pad", "t": "template"}


def tokens(kinds: str) -> list[Token]:
    return [Token(index, kind, _KINDS[kind]) for index, kind in enumerate(kinds)]


def test_without_a_template_it_is_the_same_position() -> None:
    assert positions_in_empty(tokens("bwwwep"), tokens("bepppp")) == (0, 1, 2, 3, 4, 5)


def test_a_template_keeps_its_own_tokens() -> None:
    # in the place of a word is the template's first token behind the words
    assert positions_in_empty(tokens("ttwwwttp"), tokens("ttttpppp")) == (0, 1, 2, 2, 2, 2, 3, 4)


def test_without_padding() -> None:
    assert positions_in_empty(tokens("ttwwwtt"), tokens("tttt")) == (0, 1, 2, 2, 2, 2, 3)


def test_padding_in_front() -> None:
    assert positions_in_empty(tokens("ppttww"), tokens("pppptt")) == (0, 1, 4, 5, 5, 5)


def test_another_length() -> None:
    assert positions_in_empty(tokens("bwwe"), tokens("be")) == (0, 1, 1, 1)
