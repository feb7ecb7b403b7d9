"""Metrics of two runs, against numbers worked out by hand; what cannot be compared is NaN."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from difflens_widgets.analysis.metrics import latent_rms, picture_difference, picture_ssim, state_cosine
from difflens_widgets.analysis.ssim import ssim
from drawn_runs import picture


def test_state_cosine_is_the_cosine_of_each_token() -> None:
    a = np.array([[[3, 0], [1, 1], [0, 2]]], np.float16)
    b = np.array([[[0, 5], [1, 1], [0, -1]]], np.float16)
    found = state_cosine(a, b)
    assert (found.shape, found.dtype) == ((1, 3), np.float64)
    np.testing.assert_allclose(found, [[0, 1, -1]], atol=1e-12)


def test_equal_states_have_exactly_one_and_zeros_have_none() -> None:
    states = np.random.default_rng(0).normal(size=(13, 77, 64)).astype(np.float16)
    assert (state_cosine(states, states) == 1).all()
    assert (state_cosine(states, states.astype(np.float32) * 2) == 1).all()
    states[0, 0] = 0
    assert np.isnan(state_cosine(states, states)[0, 0])
    with pytest.raises(ValueError, match=r"states: those of tuned have the shape \(13, 77, 32\)"):
        state_cosine(states, states[..., :32])


def test_latent_rms() -> None:
    a, b = np.zeros((4, 2, 2), np.float32), np.zeros((4, 2, 2), np.float32)
    b[0] = 2
    assert latent_rms(a, b) == latent_rms(b, a) == 1
    assert latent_rms(a, a) == 0
    for missing in ((None, b), (a, None), (a, b[:1])):
        assert np.isnan(latent_rms(*missing))


def test_picture_ssim() -> None:
    a, b = picture(1, 64), picture(2, 64)
    assert picture_ssim(a, b) == ssim(a, b)
    large = [image.resize((512, 512)) for image in (a, b)]
    assert picture_ssim(*large) == ssim(*(image.reduce(2) for image in large))
    for missing in ((None, b), (a, None), (a, picture(2, 32)), (a.resize((8, 8)), b.resize((8, 8)))):
        assert np.isnan(picture_ssim(*missing))


def test_picture_difference_is_the_mean_over_the_channels() -> None:
    a, b = Image.new("RGB", (2, 1), (0, 10, 20)), Image.new("RGB", (2, 1), (30, 10, 5))
    assert picture_difference(a, b).tolist() == [[15, 15]]
