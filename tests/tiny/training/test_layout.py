"""The maps of what stands where agree with the drawing they are of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from difflens_widgets.tiny.drawing import draw_array
from difflens_widgets.tiny.scenes import BACKGROUNDS, COLORS, KINDS, MATERIALS, Scene, sample_scene, training_scene
from difflens_widgets.tiny.training.layout import GRID, layout_loss, layout_maps

SCENES = [training_scene(0, index) for index in range(150)]
KIND_NAMES, NOTHING = list(KINDS), len(KINDS)


def cells(array: np.ndarray) -> np.ndarray:
    """(side, side, ...) → (row, column, pixel, ...) of the grid."""
    n = len(array) // GRID
    blocks = array.reshape(GRID, n, GRID, n, *array.shape[2:]).swapaxes(1, 2)
    return blocks.reshape(GRID, GRID, n * n, *array.shape[2:])


def drawn(scene: Scene) -> np.ndarray:
    return draw_array(scene, 64).astype(int)


def changed(scene: Scene) -> np.ndarray:
    """The share of each place that a thing or its shadow covers, (row, column)."""
    empty = drawn(replace(scene, items=()))
    return cells(np.abs(drawn(scene) - empty).max(-1) > 8).mean(-1)


def test_things_are_where_the_maps_say() -> None:
    maps = layout_maps(SCENES)
    covered: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for scene, kind in zip(SCENES, maps.kind.numpy(), strict=True):
        share = changed(scene)
        assert {*np.unique(kind)} - {NOTHING} == {KIND_NAMES.index(item.kind) for item in scene.items}
        for index in {*np.unique(kind)} - {NOTHING}:
            covered[KIND_NAMES[index]] += share[kind == index].tolist()
    means = {kind: np.mean(shares) for kind, shares in covered.items()}
    assert min(means.values()) > 0.4, means  # a crescent leaves most of its disk free
    assert means["circle"] > 0.99
    assert means["square"] > 0.97


def test_where_places_do_not_weigh_more_nothing_is_drawn() -> None:
    maps = layout_maps(SCENES)
    share = np.stack([changed(scene) for scene in SCENES])
    weight = maps.weight.float().numpy()
    light = weight < 0.9 * weight.max((1, 2), keepdims=True)
    assert (share[light] > 0).mean() < 0.01  # tips and shadows
    assert share[light].max() < 0.75
    np.testing.assert_allclose(weight.mean((1, 2)), 1, atol=1e-3)


def test_colors_are_those_that_are_drawn() -> None:
    """Of places that one thing fills, and of plain backgrounds: the nearest color, whatever the light."""
    rgb = np.array([value for value, _ in COLORS.values()])
    maps = layout_maps(SCENES)
    looked = 0
    for scene, kind, color in zip(SCENES, maps.kind.numpy(), maps.color.numpy(), strict=True):
        share, means = changed(scene), cells(drawn(scene)).mean(2)
        nearest = np.linalg.norm(means[..., None, :] - rgb, axis=-1).argmin(-1)
        full = [i for i in scene.items if i.kind in ("circle", "square") and scene.relation != "inside"]
        plain = [item.kind for item in full if item.material == "plain"]
        filled = np.isin(kind, [KIND_NAMES.index(name) for name in plain]) & (share == 1)
        free = (kind == NOTHING) & (share == 0)
        assert (color[free] == BACKGROUNDS.index(scene.background)).all()
        if scene.background in COLORS:
            assert (nearest[free] == color[free]).all(), scene.caption
        assert (nearest[filled] == color[filled]).all(), scene.caption
        looked += filled.sum()
    assert looked > 300


def test_what_is_inside_is_in_front() -> None:
    for seed in range(20):
        scene = sample_scene(np.random.default_rng(seed), "relation", relation="inside")
        inner, outer = scene.items
        maps = layout_maps([scene])
        at = int(inner.y * GRID), int(inner.x * GRID)
        assert maps.kind[(0, *at)] == KIND_NAMES.index(inner.kind)
        assert maps.color[(0, *at)] == BACKGROUNDS.index(inner.color)
        assert (maps.kind == KIND_NAMES.index(outer.kind)).sum() > (maps.kind == KIND_NAMES.index(inner.kind)).sum()


def test_materials_are_told_of_things_only() -> None:
    names = list(MATERIALS)
    for material in ("striped", "dotted", "metallic"):
        maps = layout_maps([sample_scene(np.random.default_rng(0), "object", material=material)])
        assert {*maps.material[maps.kind != NOTHING].tolist()} == {names.index(material)}
        assert {*maps.material[maps.kind == NOTHING].tolist()} == {names.index("plain")}


@pytest.mark.parametrize("wrong", [False, True])
def test_the_loss_is_low_where_the_maps_are_told(wrong) -> None:
    maps = layout_maps(SCENES[:8])
    kind = (maps.kind + 1) % (NOTHING + 1) if wrong else maps.kind
    true = (kind, NOTHING + 1), (maps.color, len(BACKGROUNDS)), (maps.material, len(MATERIALS))
    logits = 20.0 * torch.cat([torch.nn.functional.one_hot(*each) for each in true], -1).movedim(-1, 1)
    loss = layout_loss(logits, maps.kind, maps.color, maps.material)
    assert (loss > 5) if wrong else (loss < 1e-3)
