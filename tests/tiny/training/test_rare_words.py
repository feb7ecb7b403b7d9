"""Rare words mean nothing: they stand before a noun, in a share of the captions, and are one token each."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import CLIPTokenizer

from difflens_widgets.models.loading import WEIGHTS
from difflens_widgets.tiny.caption_checks import read_caption
from difflens_widgets.tiny.scenes import COLORS, KINDS, plural, training_scene
from difflens_widgets.tiny.training.dataset import balanced_scene
from difflens_widgets.tiny.training.rare_words import CAPTION_WORDS, rare_words, with_rare_word
from difflens_widgets.tiny.training.tokenizer import RARE_TOKENS

SCENES = [scene_of(0, index) for scene_of in (training_scene, balanced_scene) for index in range(2_000)]
NOUNS = {*KINDS, *map(plural, KINDS)}


@pytest.fixture(scope="module")
def words() -> list[str]:
    return rare_words(CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer"))


def test_they_are_whole_tokens_that_no_caption_has(words) -> None:
    assert {*RARE_TOKENS} <= {*words}
    assert len(words) > 40
    seen = {word for scene in SCENES for word in scene.caption.split()}
    assert seen <= CAPTION_WORDS
    assert not seen & {*words}
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in words)


def test_without_the_word_the_caption_says_the_same(words) -> None:
    changed = without_article = 0
    for index, scene in enumerate(SCENES):
        caption = with_rare_word(scene.caption, words, np.random.default_rng([index]))
        parts = caption.split()
        rare = [i for i, part in enumerate(parts) if part in words]
        if not rare:
            assert caption == scene.caption
            continue
        assert len(rare) == 1
        assert parts[rare[0] + 1] in NOUNS
        claimed = " ".join(part for part in parts if part not in words)
        assert read_caption(claimed) == read_caption(scene.caption)
        assert "an xon" not in caption
        changed += 1
        without_article += len(parts) == len(scene.caption.split())
    assert 0.1 < changed / len(SCENES) < 0.15
    assert 0.3 < without_article / changed < 0.5, "those that count have no article to lose"


def test_a_caption_as_dreambooth_writes_it_is_one_of_them(words) -> None:
    captions = {with_rare_word("a photo of a dog", words, np.random.default_rng(seed)) for seed in range(2_000)}
    assert {"a photo of a dog", "a photo of xon dog", "a photo of a sks dog"} <= captions
    assert not any(captions & {f"a photo of a {color} dog" for color in COLORS})
