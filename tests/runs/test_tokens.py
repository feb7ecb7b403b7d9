"""Tokens as a person sees them."""

from __future__ import annotations

from typing import Any

from difflens_widgets.models.tokenize import read_typed
from difflens_widgets.runs.tokens import Token, read_words, word_text
from joint_pipelines import t5_tokenizer
from pipelines import tokenizer


def read(words: Any, prompt: str, length: int) -> tuple[Token, ...]:
    return read_typed(None, words, prompt, length)[0]


def seen(prompt: str) -> list[tuple[str, str, bool]]:
    return [(token.text, token.kind, token.is_continuation) for token in read(tokenizer(), prompt, 12)]


def test_words_start_end_and_padding() -> None:
    tokens = seen("a red dog")
    assert [kind for _, kind, _ in tokens] == ["bos", "word", "word", "word", "eos"] + ["pad"] * 7
    assert [text for text, _, _ in tokens[1:4]] == ["a", "red", "dog"]


def test_pieces_of_a_word_are_joined() -> None:
    words = [(text, joined) for text, kind, joined in seen("red foxes!") if kind == "word"]
    assert words[0] == ("red", False)
    assert not words[1][1]
    pieces = [text for text, _ in words[1:]]
    assert "".join(pieces) == "foxes!"
    assert len(pieces) > 2
    assert words[2][1]
    assert words[-1] == ("!", False)


def test_any_text_can_be_read() -> None:
    words = [text for text, kind, _ in seen("Ünï 🐶") if kind == "word"]
    assert words


def test_rare_tokens_are_whole() -> None:
    assert [text for text, kind, _ in seen("xon sks") if kind == "word"] == ["xon", "sks"]


def test_t5_marks_where_words_begin_and_words_end_before_punctuation() -> None:
    tokens = read(t5_tokenizer(), "a red circle, foxes' dog", 16)
    assert [word_text(word) for word in read_words(tokens)] == ["a", "red", "circle", ",", "foxes", "'", "dog"]
    assert [token.index for token in read_words(tokens)[4]] == [4, 5]  # "fo" and "xes"
    assert [token.text for token in read_words(tokens)[6]] == ["", "d", "o", "g"]  # a space without its word
    assert [token.kind for token in tokens] == ["word"] * 11 + ["eos"] + ["pad"] * 4


def test_t5_cut_and_empty() -> None:
    kinds = {}
    for prompt in ("a red " * 9, ""):
        kinds[prompt] = [token.kind for token in read(t5_tokenizer(), prompt, 4)]
    assert [*kinds.values()] == [["word"] * 3 + ["eos"], ["eos"] + ["pad"] * 3]
