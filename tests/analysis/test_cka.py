"""Linear CKA against closed forms, and against the definitions written out with (n, n) kernels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, layer_cka, linear_cka, read_states
from drawn_runs import drawn_run
from pipelines import small_pipeline

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 5)), RNG.normal(size=(60, 7))
PROMPTS = [f"a {colour} {kind}" for colour in ("red", "blue", "green", "pink") for kind in ("dog", "cat", "star")]


def centred_kernel(x: np.ndarray) -> np.ndarray:
    h = np.eye(len(x)) - 1 / len(x)
    return h @ x @ x.T @ h


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, equations 3 and 4: HSIC with centring matrices."""
    k, l_ = centred_kernel(x), centred_kernel(y)
    return np.trace(k @ l_) / np.sqrt(np.trace(k @ k) * np.trace(l_ @ l_))


def unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, as printed."""
    n = len(x)
    k, l_ = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l_, 0)
    one = np.ones(n)
    sums = (one @ k @ one) * (one @ l_ @ one)
    total = np.trace(k @ l_) + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l_ @ one
    return total / (n * (n - 3))


def unbiased_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    return unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))


def test_it_is_the_published_definition() -> None:
    mixed = X @ RNG.normal(size=(5, 7)) + Y
    value, n = linear_cka(X, mixed)
    assert n == 60
    assert value == pytest.approx(by_definition(X, mixed), abs=1e-12)
    assert 0.1 < value < 0.9


def test_it_is_also_that_for_more_columns_than_rows() -> None:
    wide, other = RNG.normal(size=(10, 50)), RNG.normal(size=(10, 40))
    with pytest.warns(UserWarning, match=r"n = 10 rows of width 50: biased towards 1"):
        assert linear_cka(wide, other).value == pytest.approx(by_definition(wide, other), abs=1e-12)


def test_debiased_is_the_unbiased_estimate() -> None:
    mixed = X @ RNG.normal(size=(5, 7)) + Y + 3  # far from the origin: the estimate does not care
    found = linear_cka(X, mixed, debiased=True)
    assert found.value == pytest.approx(unbiased_by_definition(X, mixed), abs=1e-10)
    assert found.value != pytest.approx(linear_cka(X, mixed).value, abs=1e-4)


def test_one_up_to_rotation_scale_and_shift_and_not_for_stretching() -> None:
    rotation, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    for debiased in (False, True):
        assert linear_cka(X, 3 * X @ rotation + 7, debiased=debiased).value == pytest.approx(1)
    assert linear_cka(X, X * [1, 1, 1, 1, 10]).value < 0.9


def test_unrelated_noise_is_biased_as_said_and_debiased_is_not() -> None:
    n, d = 40, 120
    rows = np.random.default_rng(1).normal(size=(20, 2, n, d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        biased = [linear_cka(x, y).value for x, y in rows]
    debiased = [linear_cka(x, y, debiased=True).value for x, y in rows]
    assert np.mean(biased) == pytest.approx(d / (n + d), abs=0.02)
    assert abs(np.mean(debiased)) < 0.02


def test_the_matrix_of_the_layers_is_linear_cka_of_pooled_words() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)
    read = [read_states(lens, prompt) for prompt in PROMPTS]
    found = layer_cka(read)
    words = np.concatenate([one.states[:, 1:4] for one in read], axis=1)  # three words behind the start token
    assert (found.n, found.width, found.prompts, found.debiased) == (36, 32, 12, False)
    assert found.matrix.shape == (5, 5)
    for i, j in ((0, 4), (2, 3), (1, 1)):
        assert found.matrix[i, j] == pytest.approx(linear_cka(words[i], words[j]).value)
        assert found.matrix[i, j] == found.matrix[j, i]
    debiased = layer_cka(iter(read), debiased=True)
    assert debiased.matrix[0, 4] == pytest.approx(linear_cka(words[0], words[4], debiased=True).value)
    ends = layer_cka(read, iter(["eos", "pad"]), debiased=True)
    assert ends.n == 12 * (77 - 4)
    assert layer_cka(read, "pad", debiased=True).n == 12 * (77 - 5)


def test_few_tokens_warn_and_are_said_in_the_figure() -> None:
    runs = [drawn_run(depth=3), drawn_run(depth=3, states=RNG.normal(size=(3, 9, 8)))]
    with pytest.warns(UserWarning, match=r"n = 2 rows of width 8"):
        cka = layer_cka(runs, "eos")
    assert "n = 2 tokens of 2 prompts, width 8 · biased estimate (too few tokens: n ≤ width)" in caption(cka)
    many = layer_cka(runs)
    assert "n = 14 tokens of 2 prompts, width 8 · biased estimate" in caption(many)
    assert "too few" not in caption(many)
    assert "unbiased estimate" in caption(layer_cka(runs, debiased=True))


def caption(cka: object) -> str:
    figure = cka.plot()
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), cka.matrix)
    return " ".join(figure.texts[-1].get_text().split())


# bad input


@pytest.mark.parametrize(
    ("x", "y", "debiased", "message"),
    [
        (X, Y[:50], False, "expected the same number of rows, of the same things; got 60 and 50"),
        (X[0], Y, False, r"x: expected the shape \(n, d\), got \(5,\)"),
        (X, np.full((60, 2), np.nan), False, "y: some values are NaN"),
        (X, np.ones((60, 2)), False, "y: all rows are equal, so CKA is not defined"),
        (X[:3], Y[:3], True, "needs at least 4 rows, got 3"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(x, y, debiased, message) -> None:
    with pytest.raises(ValueError, match=message):
        linear_cka(x, y, debiased=debiased)


@pytest.mark.parametrize(
    ("runs", "kinds", "error", "message"),
    [
        (drawn_run(), "word", TypeError, "runs: expected several, got one"),
        ([], "word", ValueError, "runs: empty"),
        ([drawn_run(depth=3), drawn_run(depth=4)], "word", ValueError, "expected one model; got"),
        ([drawn_run(depth=3)], "pad", ValueError, "has no token of the kind pad"),
        ([drawn_run(depth=3)] * 20, "bos", ValueError, "layer 0: all rows are equal"),
    ],
    ids=str,
)
def test_runs_that_cannot_be_pooled(runs, kinds, error, message) -> None:
    with pytest.raises(error, match=message):
        layer_cka(runs, kinds)
