"""Hard negatives: captions of other pictures that could have been drawn, and never the caption itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from difflens_widgets.tiny.scenes import COLORS, HELD_OUT, KINDS, NAMED_MATERIALS, plural, training_scene
from difflens_widgets.tiny.training.hard_negatives import could_be_drawn, other_binding, other_kind

CAPTIONS = [training_scene(0, index).caption for index in range(2_000)]
KIND_OF = {name: kind for kind in KINDS for name in (plural(kind), kind)}


def words_of(caption: str) -> list[str]:
    """Articles apart: they follow the word behind them."""
    return ["a" if word == "an" else word for word in caption.split()]


def kinds_of(caption: str) -> list[str]:
    return [KIND_OF[word] for word in caption.split() if word in KIND_OF]


def test_training_captions_could_be_drawn() -> None:
    assert [caption for caption in CAPTIONS if not could_be_drawn(caption.split())] == []


@pytest.mark.parametrize("other", [other_kind, other_binding])
def test_negatives_could_be_drawn_and_are_others(other) -> None:
    rng = np.random.default_rng(0)
    negatives = [other(caption, rng) for caption in CAPTIONS]
    assert [text for text in negatives if not could_be_drawn(text.split())] == []
    assert not any(text == caption for text, caption in zip(negatives, CAPTIONS, strict=True))
    pairs = {(color, kind) for color, kind in HELD_OUT for text in negatives if f"{color} {kind}" in text}
    assert not pairs


def test_another_kind_is_all_that_differs() -> None:
    rng = np.random.default_rng(0)
    for caption in CAPTIONS:
        ours, theirs = words_of(caption), words_of(other_kind(caption, rng))
        changed = [(one, two) for one, two in zip(ours, theirs, strict=True) if one != two]
        assert len(changed) == 1, caption
        assert {*changed[0]} <= KIND_OF.keys(), caption


def test_other_bindings_have_the_same_kinds() -> None:
    rng = np.random.default_rng(0)
    for caption in CAPTIONS:
        if any(color in caption.split() for color in COLORS):
            bound = other_binding(caption, rng)
            assert kinds_of(bound) == kinds_of(caption)
            assert words_of(bound) != words_of(caption)


@pytest.mark.parametrize("other", [other_kind, other_binding])
def test_no_grammar_mistake_gives_a_negative_away(other) -> None:
    rng = np.random.default_rng(0)
    for caption in CAPTIONS:
        words = other(caption, rng).split()
        for article, after in itertools.pairwise(words):
            if article in ("a", "an"):
                assert (article == "an") == (after[0] in "aeiou"), words
        if words[0] in ("one", "two", "three", "four"):
            name = next(word for word in words if word in KIND_OF)
            assert name == (KIND_OF[name] if words[0] == "one" else plural(KIND_OF[name])), words


def test_negatives_keep_the_number() -> None:
    for seed in range(30):
        other = other_kind("two orange crosses on a red background", np.random.default_rng(seed)).split()
        assert other[2] in {*map(plural, KINDS)} - {"crosses"}
        assert "crosses" not in other_kind("a red cross", np.random.default_rng(seed))


@pytest.mark.parametrize(
    "text",
    [
        "a purple star",  # held out
        "two purple stars",
        "a red dog and a red cat",
        "a red dog and a blue dog",
        "a red dog on a red background",
        "a green tree on grass",
        "a blue car at sea",
        "a black cat at night",
        "a red dog inside a blue star",
        "a striped dog",
        "a walking fish",
    ],
)
def test_what_is_never_drawn_could_not_be(text) -> None:
    assert not could_be_drawn(text.split())


@pytest.mark.parametrize(
    ("caption", "negatives"),
    [
        ("a metallic red circle", {"a red circle", "a striped red circle", "a dotted red circle"}),
        ("a small red circle", {f"a small {material} red circle" for material in NAMED_MATERIALS}),
        ("an orange house", {f"a {material} orange house" for material in NAMED_MATERIALS}),
    ],
)
def test_a_material_is_also_left_out_and_put_in(caption, negatives) -> None:
    """Else "metallic" only had to mean "neither striped nor dotted"."""
    drawn = {other_binding(caption, np.random.default_rng(seed)) for seed in range(200)}
    assert negatives <= drawn


@pytest.mark.parametrize("caption", ["a red dog", "two red circles", "a red circle above a blue star"])
def test_only_a_made_thing_that_stands_alone_gets_a_material(caption) -> None:
    drawn = {other_binding(caption, np.random.default_rng(seed)) for seed in range(200)}
    assert not {*NAMED_MATERIALS} & {word for text in drawn for word in text.split()}
