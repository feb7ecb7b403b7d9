"""The colour ramps of heat maps: every step as visible as the next, and the same in the kernel and in the browser."""

from __future__ import annotations

import numpy as np
import pytest

from difflens_widgets.runs.render.heat_colors import COOL, WARM, coloured
from difflens_widgets.widgets import _base


def oklab(colours: np.ndarray) -> np.ndarray:
    """sRGB 0..255 (n, 3) in OKLab (Ottosson, 2020)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponents = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ cones.T) @ opponents.T


@pytest.mark.parametrize("ramp", [WARM, COOL])
def test_every_step_is_as_visible_as_the_next(ramp) -> None:
    seen = oklab(coloured(np.linspace(0, 1, 9), ramp).astype(float))
    steps = np.linalg.norm(np.diff(seen, axis=0), axis=1)
    assert steps.max() < 1.1 * steps.min()
    lightness = np.diff(seen[:, 0])
    assert lightness.max() < 1.1 * lightness.min()  # so that it is read without any colour, too


def test_one_is_warm_and_one_is_cool() -> None:
    """In the middle, where the hue shows, they differ most along blue and yellow, which red-green blindness keeps."""
    middle = np.linspace(0.3, 0.9, 7)
    warm, cool = oklab(coloured(middle, WARM).astype(float)), oklab(coloured(middle, COOL).astype(float))
    assert (warm[:, 2] - cool[:, 2] > 0.12).all()
    assert (warm[:, 1] > cool[:, 1]).all()


def test_the_browser_has_the_same_ramps() -> None:
    program = _base.read_static("token_attention_grid.js")
    assert program.count(f'"{WARM}"') == program.count(f'"{COOL}"') == 1


def test_values_beyond_the_ramp_are_its_ends() -> None:
    assert coloured(np.array([-1.0, 0.0])).tolist() == [[0x2A, 0x09, 0x0B]] * 2
    assert coloured(np.array([1.0, 9.0])).tolist() == [[0xF5, 0xE3, 0x78]] * 2
    assert coloured(np.zeros((2, 3)), COOL).shape == (2, 3, 3)
