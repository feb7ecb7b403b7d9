"""SSIM against the paper's formula written out window by window, and against what is known of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from difflens_widgets.analysis.ssim import ssim, ssim_map
from drawn_runs import picture


def directly(a: np.ndarray, b: np.ndarray) -> float:
    """Equations 13 to 16 of Wang et al. 2004, a plain two-dimensional window at every place."""
    weights = np.array([[math.exp(-(x * x + y * y) / (2 * 1.5**2)) for x in range(-5, 6)] for y in range(-5, 6)])
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (each[top : top + 11, left : left + 11].astype(float) for each in (a, b))
            mx, my = (weights * x).sum(), (weights * y).sum()
            sxx, syy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            sxy = (weights * (x - mx) * (y - my)).sum()
            values.append((2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sxx + syy + c2)))
    return float(np.mean(values))


@pytest.fixture(scope="module")
def pair():
    return [np.asarray(picture(index, 32)) for index in (1, 2)]


def test_it_is_the_formula_of_the_paper(pair) -> None:
    a, b = pair
    for channel in range(3):
        assert ssim(a[..., channel], b[..., channel]) == pytest.approx(directly(a[..., channel], b[..., channel]))
    expected = np.mean([directly(a[..., channel], b[..., channel]) for channel in range(3)])
    assert ssim(Image.fromarray(a), Image.fromarray(b)) == pytest.approx(expected)
    assert ssim_map(a, b).shape == (22, 22, 3)


def test_only_equal_pictures_have_one(pair) -> None:
    a, b = pair
    assert ssim(a, a) == 1.0
    nearly = a.copy()
    nearly[16, 16] = 255 - nearly[16, 16]
    assert ssim(a, b) < ssim(a, nearly) < 1.0
    assert ssim(a, b) == ssim(b, a)
    assert ssim(a, b) >= -1.0


def test_of_flat_pictures_it_is_their_luminance_term() -> None:
    a, b = np.full((20, 20), 100.0), np.full((20, 20), 50.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 50 + c1) / (100**2 + 50**2 + c1))


def test_noise_lowers_it_more_the_stronger_it_is(pair) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=pair[0].shape)
    values = [ssim(pair[0], pair[0] + strength * noise) for strength in (0, 2, 8, 32, 128)]
    assert values == sorted(values, reverse=True)
    inverted = 255.0 - pair[0]
    assert ssim(pair[0], inverted) < 0.2


def test_colours_that_are_as_bright_differ() -> None:
    """Equal luminance, other hue: grey SSIM would be 1."""
    shape = np.zeros((24, 24, 3))
    shape[6:18, 6:18] = (200, 0, 0)
    other = np.zeros((24, 24, 3))
    other[6:18, 6:18] = (0, 200 * 0.299 / 0.587, 0)
    assert ssim(shape, other) < 0.8


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((20, 20), (20, 21), r"b: has the shape \(20, 21\), expected that of a, \(20, 20\)"),
        ((10, 20), (10, 20), "expected a picture of at least 11 × 11 pixels"),
        ((400,), (400,), "expected a picture of at least"),
    ],
)
def test_pictures_that_have_none(a, b, message) -> None:
    with pytest.raises(ValueError, match=message):
        ssim(np.zeros(a), np.zeros(b))
