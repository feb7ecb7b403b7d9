"""The figures: each is whole, none spills over, each kind can be told from every other, and materials stay inside."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from difflens_widgets.tiny.drawing import SIZE, draw_array
from difflens_widgets.tiny.figures import REACH, draw_figure
from difflens_widgets.tiny.scenes import ANIMALS, COLORS, KINDS, MATERIALS, WALKERS, Item, Markings, Scene

POSTURES = [(kind, walking) for kind in KINDS for walking in ((False, True) if kind in WALKERS else (False,))]
BIGGEST, ASIDE = 0.42, 0.03  # what `sample_scene` gives a thing alone, at most


def thing(kind: str, walking: bool = False, *, x: float = 0.5, y: float = 0.5, r: float = 0.3, **more: str) -> Item:
    markings = Markings("blue", "green") if kind in ANIMALS else Markings()
    return Item(kind, "red", x, y, r, markings, walking=walking, **more)


def drawn(*items: Item, size: int = SIZE) -> np.ndarray:
    return draw_array(Scene(items, "white", "object", ""), size).astype(int)


def body(item: Item, side: int) -> np.ndarray:
    """Where it is, its shadow aside: bool, a tile around its centre."""
    return np.asarray(draw_figure(item, side))[..., 3] == 255


@pytest.mark.parametrize(("kind", "walking"), POSTURES)
def test_a_figure_is_whole_in_its_tile(kind, walking) -> None:
    for r in (0.08, 0.3, BIGGEST):
        alpha = np.asarray(draw_figure(thing(kind, walking, r=r), 3 * SIZE))[..., 3]
        assert alpha.any()
        assert not any(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))


@pytest.mark.parametrize(("kind", "walking"), POSTURES)
def test_the_biggest_thing_is_in_the_picture(kind, walking) -> None:
    """As far aside as things are put; the tips of a rabbit's ears and of a heart may be cut."""
    rows, columns = np.nonzero(body(thing(kind, walking, r=BIGGEST), SIZE))
    half = int(np.ceil(REACH * BIGGEST * SIZE))
    for x, y in itertools.product((0.5 - ASIDE, 0.5 + ASIDE), repeat=2):
        across, down = columns - half + round(x * SIZE), rows - half + round(y * SIZE)
        inside = (across >= 0) & (across < SIZE) & (down >= 0) & (down < SIZE)
        assert inside.mean() > 0.97


@pytest.mark.parametrize(("kind", "walking"), POSTURES)
def test_what_leaves_the_picture_does_not_come_in_again(kind, walking) -> None:
    empty = drawn()
    for x, y in itertools.product((0.03, 0.5, 0.97), repeat=2):
        changed = (drawn(thing(kind, walking, x=x, y=y)) != empty).any(-1)
        assert changed.any()
        rows, columns = np.nonzero(changed)
        farthest = max(np.abs(columns + 0.5 - x * SIZE).max(), np.abs(rows + 0.5 - y * SIZE).max())
        assert farthest <= REACH * 0.3 * SIZE + 1


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(KINDS, 2)))
def test_every_kind_is_told_from_every_other(one, other) -> None:
    """In their outlines and parts, in one color: a tenth of the pixels of a small picture differ plainly."""
    pictures = (drawn(Item(kind, "red", 0.5, 0.5, BIGGEST), size=64) for kind in (one, other))
    assert (np.abs(np.subtract(*pictures)).max(-1) > 30).mean() >= 0.1


@pytest.mark.parametrize("kind", WALKERS)
def test_walking_is_seen(kind) -> None:
    pictures = (drawn(thing(kind, walking), size=64) for walking in (False, True))
    assert (np.abs(np.subtract(*pictures)).max(-1) > 30).mean() >= 0.1


@pytest.mark.parametrize("material", [material for material in MATERIALS if material != "plain"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ANIMALS])
def test_materials_change_the_thing_and_nothing_else(kind, material) -> None:
    plain = thing(kind)
    tile = body(plain, 3 * SIZE)
    top = 3 * SIZE // 2 - len(tile) // 2
    inside = np.zeros((3 * SIZE, 3 * SIZE), bool)
    inside[top : top + len(tile), top : top + len(tile)] = tile
    inside = inside.reshape(SIZE, 3, SIZE, 3).any((1, 3))  # its smooth edge is inside, too
    for color in COLORS:
        one, other = (
            draw_array(Scene((Item(kind, color, 0.5, 0.5, 0.3, material=made),), "white", "object", "")).astype(int)
            for made in ("plain", material)
        )
        apart = np.abs(one - other).max(-1)
        assert not apart[~inside].any()
        assert (apart > 15).sum() > 0.05 * inside.sum(), color  # of a metallic black boat 8 %
