"""Lengths of states and how blocks move them, against numbers worked out by hand and by the encoder itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, layer_change, read_states, state_norms
from difflens_widgets.analysis.states import TokenStates
from difflens_widgets.runs.tokens import Token
from drawn_runs import SETTINGS, drawn_run
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle"
TOKENS = (Token(0, "", "bos"), Token(1, "dog", "word"), Token(2, "", "eos"), Token(3, "", "pad"))


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)


def by_hand() -> TokenStates:
    """Three layers of four tokens in the plane: the word turns by 90° and grows, the end stays, the others vary."""
    states = np.zeros((3, 4, 2), np.float32)
    states[:, 0] = (9, 0)
    states[:, 1] = [(3, 0), (0, 3), (0, 6)]
    states[:, 2] = (0, 2)
    states[:, 3] = [(1, 0), (-1, 0), (-3, 0)]
    return TokenStates("dog", TOKENS, states, normed=False)


def test_norms() -> None:
    assert state_norms(by_hand()).tolist() == [[9, 3, 2, 1], [9, 3, 2, 1], [9, 6, 2, 3]]


def test_the_change() -> None:
    change = layer_change(by_hand(), ("word", "eos", "pad"))
    np.testing.assert_allclose(change.cosine, [[1, 0, 2], [0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(change.relative, [[np.sqrt(2), 0, 2], [1, 0, 2]], atol=1e-12)
    assert [token.kind for token in change.tokens] == ["word", "eos", "pad"]


def test_kinds_choose_the_tokens() -> None:
    assert [token.kind for token in layer_change(by_hand()).tokens] == ["word", "eos"]
    only = layer_change(by_hand(), "pad")
    assert only.cosine.shape == (2, 1)
    np.testing.assert_allclose(only.relative[:, 0], 2)


def test_a_state_of_length_zero_has_no_direction() -> None:
    states = np.zeros((2, 4, 2), np.float32)
    states[1] = 1
    change = layer_change(TokenStates("dog", TOKENS, states, normed=False))
    assert np.isnan(change.cosine).all()
    assert np.isnan(change.relative).all()


def test_states_read_are_those_of_a_run_and_of_the_encoder(lens) -> None:
    run = lens(PROMPT, layers=[4], num_inference_steps=1)
    read = read_states(lens, PROMPT)
    assert (read.prompt, read.tokens, read.normed) == (PROMPT, run.tokens, False)
    np.testing.assert_array_equal(read.states.astype(np.float16), run.states)
    normed = read_states(lens, PROMPT, normed=True).states
    ids = lens.pipe.tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        last = lens.pipe.text_encoder(ids).last_hidden_state[0]
    np.testing.assert_allclose(normed[-1], last.numpy(), atol=1e-5)
    assert np.abs(normed - read.states).max() > 0.1
    np.testing.assert_allclose(state_norms(run), state_norms(read), rtol=1e-2)


@pytest.mark.parametrize(("encoder", "shape"), [("text_encoder", (3, 77, 32)), ("text_encoder_2", (4, 77, 48))])
def test_of_two_encoders_one_is_read(encoder, shape) -> None:
    lens = DiffusionLens(small_sdxl_pipeline(DDIMScheduler), text_encoder=encoder)
    raw, normed = (read_states(lens, PROMPT, normed=normed).states for normed in (False, True))
    assert raw.shape == shape
    np.testing.assert_allclose(normed, raw, atol=1e-6)  # SDXL norms nothing


def test_a_saved_run_is_analysed_without_torch(tmp_path: Path) -> None:
    path = drawn_run().save(tmp_path / "a.lens")
    program = (
        "import sys, warnings\n"
        "for name in ('torch', 'diffusers', 'transformers'): sys.modules[name] = None\n"
        "from difflens_widgets import LensRun, layer_cka, layer_change, linear_cka, state_norms, EmergenceTable\n"
        "run = LensRun.load(sys.argv[1])\n"
        "assert state_norms(run).shape == (13, len(run.tokens))\n"
        "assert layer_change(run).plot()._repr_png_().startswith(b'\\x89PNG')\n"
        "assert layer_cka([run, run], debiased=True).matrix.shape == (13, 13)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_figure_says_what_it_shows() -> None:
    figure = layer_change(by_hand()).plot()
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["cosine distance (0 to 2)", "relative change (ratio of lengths)"]
    assert "n = 2" in figure.texts[-1].get_text()
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), [0.5, 0])
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "linear"]  # a change of 0 has no logarithm
    assert [axes.get_yscale() for axes in layer_change(drawn_run()).plot().axes] == ["linear", "log"]


# bad input


def infinite() -> np.ndarray:
    states = np.ones((13, 11, 8), np.float16)
    states[3, 1] = np.inf
    return states


@pytest.mark.parametrize(
    ("run", "kinds", "message"),
    [
        (drawn_run(states=None), "word", "has no states"),
        (drawn_run(states=infinite()), "word", "not finite: a run keeps them in float16"),
        (drawn_run(settings={**SETTINGS, "method": "ablation"}), "word", "is one of the ablation, not of the lens"),
        (drawn_run(), "words", "kinds: 'words' is none of bos, word, eos, pad"),
        (drawn_run(), ["pad"], "has no token of the kind pad"),
        (drawn_run(), [], r"has no token of the kind \(none given\)"),
    ],
    ids=str,
)
def test_runs_that_cannot_be_measured(run, kinds, message) -> None:
    with pytest.raises(ValueError, match=message):
        layer_change(run, kinds)


def test_norms_need_states_too() -> None:
    with pytest.raises(ValueError, match="has no states"):
        state_norms(drawn_run(states=None))


def test_a_prompt_is_a_str(lens) -> None:
    with pytest.raises(TypeError, match=r"prompt: expected str, got list: \['a'\]"):
        read_states(lens, ["a"])
