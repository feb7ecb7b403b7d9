"""Similarity of words by layer, against cosines of states that were read straight from the encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, PromptPart, similarity_report, token_similarity
from pipelines import small_pipeline, small_sdxl_pipeline

A, B = "a red circle above a foxes", "a blue circle on a white background"
FOXES = slice(6, 10)  # its pieces in A, checked below


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)


def states(lens: DiffusionLens, prompt: str, *, normed: bool = True) -> torch.Tensor:
    """(layer, token, width) by the encoder's own forward."""
    encoder = lens.pipe.text_encoder
    ids = lens.pipe.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        hidden = torch.cat(encoder(ids, output_hidden_states=True).hidden_states)
        return getattr(encoder, "text_model", encoder).final_layer_norm(hidden) if normed else hidden


def cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1).numpy()


def test_it_is_the_cosine_of_what_the_denoiser_is_given(lens) -> None:
    found = token_similarity(lens, (A, "red"), (B, "blue"))
    assert (found.shape, found.dtype) == ((5,), np.float64)
    np.testing.assert_allclose(found, cosines(states(lens, A)[:, 2], states(lens, B)[:, 2]), atol=1e-5)


def test_raw_states(lens) -> None:
    found = token_similarity(lens, (A, "red"), (B, "blue"), normed=False)
    raw = [states(lens, prompt, normed=False)[:, 2] for prompt in (A, B)]
    np.testing.assert_allclose(found, cosines(*raw), atol=1e-5)
    assert np.abs(found - token_similarity(lens, (A, "red"), (B, "blue"))).max() > 1e-3


def test_pieces_of_a_split_word(lens) -> None:
    words = [token for token in lens.tokenize(A)[0] if token.kind == "word"]
    assert "".join(token.text for token in words if token.index >= FOXES.start) == "foxes"
    pieces, circle = states(lens, A)[:, FOXES.start : len(words) + 1], states(lens, B)[:, 3]
    assert pieces.shape[1] > 1
    for name, state in (("mean", pieces.mean(1)), ("first", pieces[:, 0]), ("last", pieces[:, -1])):
        found = token_similarity(lens, (A, "foxes"), (B, "circle"), pieces=name)
        np.testing.assert_allclose(found, cosines(state, circle), atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(
        token_similarity(lens, (A, "foxes"), (B, "circle")),
        token_similarity(lens, (A, "foxes"), (B, "circle"), pieces="mean"),
    )


def test_ways_to_name_a_word(lens) -> None:
    by_word = token_similarity(lens, (A, "red"), (B, "white background"))
    both = states(lens, B)[:, 6:8].mean(1)
    np.testing.assert_allclose(by_word, cosines(states(lens, A)[:, 2], both), atol=1e-5)
    np.testing.assert_array_equal(token_similarity(lens, (A, np.int64(2)), (B, "White background")), by_word)
    padding = token_similarity(lens, (A, "red"), (A, PromptPart.PADDING))
    first = max(token.index for token in lens.tokenize(A)[0] if token.kind == "eos") + 1
    np.testing.assert_allclose(padding, cosines(states(lens, A)[:, 2], states(lens, A)[:, first:].mean(1)), atol=1e-5)
    np.testing.assert_allclose(token_similarity(lens, (A, 0), (B, 0)), 1)  # the start token sees nothing but itself


def test_of_two_encoders_the_lensed_one_is_compared() -> None:
    pipe = small_sdxl_pipeline(DDIMScheduler)
    for name, tokenizer in (("text_encoder", pipe.tokenizer), ("text_encoder_2", pipe.tokenizer_2)):
        lens = DiffusionLens(pipe, text_encoder=name)
        ids = tokenizer("a red circle", padding="max_length", return_tensors="pt").input_ids
        with torch.inference_mode():
            hidden = torch.cat(getattr(pipe, name)(ids, output_hidden_states=True).hidden_states)[:-1]
        found = token_similarity(lens, ("a red circle", "red"), ("a red circle", "circle"))
        np.testing.assert_allclose(found, cosines(hidden[:, 2], hidden[:, 3]), atol=1e-5)


# controls


def test_the_controls_are_all_other_pairs(lens) -> None:
    report = similarity_report(
        lens, ("a red circle", "red"), ("a blue circle", "blue"), other_prompts=["green dog", "red"]
    )
    np.testing.assert_array_equal(
        report.similarity, token_similarity(lens, ("a red circle", "red"), ("a blue circle", "blue"))
    )
    assert sorted(report.other_words.words) == [
        ("a", "blue"),
        ("a", "circle"),
        ("circle", "a"),
        ("circle", "blue"),
        ("red", "a"),
        ("red", "circle"),
    ]
    assert sorted(report.same_words.words) == [("a", "a"), ("circle", "circle"), ("red", "red")]
    assert sorted(report.other_prompts.words) == [
        ("blue", "dog"),
        ("blue", "green"),
        ("blue", "red"),
        ("red", "dog"),
        ("red", "green"),
    ]
    for (a, b), values in zip(report.other_words.words, report.other_words.values, strict=True):
        np.testing.assert_array_equal(values, token_similarity(lens, ("a red circle", a), ("a blue circle", b)))
    index = report.other_prompts.words.index(("blue", "dog"))
    expected = token_similarity(lens, ("a blue circle", "blue"), ("green dog", "dog"))
    np.testing.assert_array_equal(report.other_prompts.values[index], expected)
    assert (report.prompts, report.words) == (("a red circle", "a blue circle"), ("red", "blue"))


def test_a_control_has_a_mean_and_a_range(lens) -> None:
    pairs = similarity_report(lens, (A, "red"), (B, "blue")).other_words
    np.testing.assert_allclose(pairs.mean, pairs.values.mean(0))
    assert (pairs.low <= pairs.mean).all()
    assert (pairs.mean <= pairs.high).all()
    assert pairs.values.shape == (len(pairs.words), 5)
    none = similarity_report(lens, (A, "red"), (B, "blue")).other_prompts
    assert (none.words, none.values.shape) == ((), (0, 5))
    assert np.isnan([none.mean, none.low, none.high]).all()


def test_pieces_and_norm_hold_for_the_controls_too(lens) -> None:
    plain = similarity_report(lens, (A, "red"), (B, "blue"))
    last, raw = (
        similarity_report(lens, (A, "red"), (B, "blue"), **how) for how in ({"pieces": "last"}, {"normed": False})
    )
    foxes = plain.other_words.words.index(("foxes", "circle"))
    for report, how in ((last, {"pieces": "last"}), (raw, {"normed": False})):
        expected = token_similarity(lens, (A, "foxes"), (B, "circle"), **how)
        np.testing.assert_array_equal(report.other_words.values[foxes], expected)
        assert np.abs(report.other_words.values[foxes] - plain.other_words.values[foxes]).max() > 1e-3


def test_words_that_share_a_piece_with_the_one_asked_for_are_no_control(lens) -> None:
    names = {a for a, _ in similarity_report(lens, (A, 6), (B, "blue")).other_words.words}
    assert "foxes" not in names
    assert {"red", "circle"} <= names


def test_the_figure_says_what_it_shows(lens) -> None:
    report = similarity_report(lens, (A, "red"), (B, "blue"), other_prompts=["a $dog$"], pieces="last", normed=False)
    figure = report.plot()
    axes = figure.axes[0]
    assert axes.get_ylabel() == "cosine similarity (-1 to 1)"
    assert "0: embeddings" in axes.get_xlabel()
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"other words of the two prompts (n = {len(report.other_words.words)})" in names
    curve = next(line for line in axes.lines if line.get_label() == "“red” – “blue”")
    np.testing.assert_array_equal(curve.get_ydata(), report.similarity)
    caption = " ".join(figure.texts[-1].get_text().split())
    assert "raw states, before the final norm · words of several pieces: the last piece" in caption
    assert A in " ".join(figure.get_suptitle().split())


# bad input


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (((A, "dog"), (B, "blue")), {}, ValueError, "a: 'dog' is not in the prompt; its words are: 'a', 'red'"),
        (((A, "red"), (B, "red")), {}, ValueError, "b: 'red' is not in the prompt; its words are: 'a', 'blue'"),
        (((A, "red"), (B, "a")), {}, ValueError, "b: 'a' stands 2 times in the prompt; give one of its places: 1, 5"),
        (((A, 76), (B, "blue")), {}, ValueError, "a: 76 is beyond this prompt"),
        (((A, "red"), ("red " * 75 + "star", "star")), {}, ValueError, "b: 'star' is cut off"),
        (((A, "red"), (B, 1.5)), {}, TypeError, "b: expected words, indices or a PromptPart, got 1.5"),
        (((A, "all"), (B, "blue")), {}, ValueError, "a: 'all' is not in the prompt"),
        ((([A], "red"), (B, "blue")), {}, TypeError, "a: expected the prompt as a str, got list"),
        (((A, "red"), (None, "blue")), {}, TypeError, "b: expected the prompt as a str, got NoneType"),
        (
            (A, (B, "blue")),
            {},
            TypeError,
            r"a: expected a prompt and a word of it, such as \('a red dog', 'dog'\), got 'a red",
        ),
        (((A, "red"), (B, "blue", "circle")), {}, TypeError, "b: expected a prompt and a word of it"),
        (((A, "red"), (B, "blue")), {"pieces": "sum"}, ValueError, "pieces: 'sum' is none of"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused_before_anything_is_computed(lens, arguments, options, error, message):
    hook = lens.pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))
    try:
        for call in (token_similarity, similarity_report):
            with pytest.raises(error, match=message):
                call(lens, *arguments, **options)
    finally:
        hook.remove()


def test_other_prompts_are_several(lens) -> None:
    with pytest.raises(TypeError, match=r"other_prompts: expected several, such as \['a dog'\]"):
        similarity_report(lens, (A, "red"), (B, "blue"), other_prompts="a dog")
