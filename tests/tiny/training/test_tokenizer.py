"""The tokenizer is learned anew by every process of a training: it must come out the same."""

from __future__ import annotations

from difflens_widgets.tiny.scenes import training_scene
from difflens_widgets.tiny.training.tokenizer import RARE_TOKENS, build_tokenizer

CAPTIONS = [training_scene(0, index).caption for index in range(3_000)]


def test_it_is_the_same_each_time(tmp_path) -> None:
    """It once was not: "of" and "on" changed places, and a resumed training would have read the one as the other."""
    built = []
    for attempt in range(8):
        build_tokenizer(CAPTIONS, tmp_path / str(attempt))
        built.append([(tmp_path / str(attempt) / name).read_bytes() for name in ("vocab.json", "merges.txt")])
    assert all(files == built[0] for files in built)


def test_each_word_of_the_captions_is_one_token_and_all_others_are_spelled(tmp_path) -> None:
    tokenizer = build_tokenizer(CAPTIONS, tmp_path)
    words = {word for caption in CAPTIONS for word in caption.split()}
    assert all(tokenizer.tokenize(word) == [f"{word}</w>"] for word in (*words, *RARE_TOKENS))
    assert not words & set(RARE_TOKENS)
    for word in ("astronaut", "Überraschung", "12:30"):
        assert "".join(tokenizer.tokenize(word)).count("</w>") >= 1
        ids = tokenizer(word, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids).replace(" ", "") == word.lower()
