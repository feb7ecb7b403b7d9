"""The world of the embedded model: known frequencies, held-out combinations, true captions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from difflens_widgets.tiny.drawing import SIZE, draw, draw_array
from difflens_widgets.tiny.figures import REACH
from difflens_widgets.tiny.scenes import (
    ANIMALS,
    BACKGROUNDS,
    COLORS,
    COUNTS,
    HELD_OUT,
    KINDS,
    LOST_IN,
    MATERIALS,
    PLACES,
    TASKS,
    WALKERS,
    Item,
    Scene,
    plural,
    sample_scene,
    surroundings,
    training_scene,
)

SCENES = [training_scene(0, index) for index in range(4000)]


def test_held_out_combinations_never_occur_in_training() -> None:
    seen = {(item.color, item.kind) for scene in SCENES for item in scene.items}
    assert not seen & HELD_OUT
    assert len(seen) > 0.95 * (len(COLORS) * len(KINDS) - len(HELD_OUT))
    captions = " | ".join(scene.caption for scene in SCENES)
    assert not any(f"{color} {kind} " in captions for color, kind in HELD_OUT)


def test_held_out_scenes_are_nothing_else() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, held_out=True) for _ in range(200)]
    assert all((scene.items[0].color, scene.items[0].kind) in HELD_OUT for scene in scenes)


def test_concepts_occur_as_often_as_written() -> None:
    kinds = Counter(scene.items[0].kind for scene in SCENES)
    assert 1.8 < kinds["circle"] / kinds["diamond"] < 3.2  # written: 6 to 2.5
    tasks = Counter(scene.task for scene in SCENES)
    for task, share in TASKS.items():
        assert abs(tasks[task] / len(SCENES) - share) < 0.03
    made = Counter(scene.items[0].material for scene in SCENES if may_be_made(scene))
    for material, weight in MATERIALS.items():
        assert abs(made[material] / made.total() - weight / sum(MATERIALS.values())) < 0.03
    counts = Counter(scene.count for scene in SCENES if scene.task == "count")
    assert {*counts} == {*COUNTS}
    assert min(counts.values()) > 0.7 * counts.total() / len(COUNTS)
    backgrounds = Counter(scene.background for scene in SCENES)
    assert {*backgrounds} == {*BACKGROUNDS}
    assert 0.1 < sum(backgrounds[place] for place in PLACES) / len(SCENES) < 0.2


def may_be_made(scene: Scene) -> bool:
    return scene.task == "object" and scene.items[0].kind not in ANIMALS


def test_only_what_can_be_seen_is_drawn() -> None:
    for scene in SCENES:
        colors = {item.color for item in scene.items}
        assert scene.background not in colors
        assert not colors & {*LOST_IN.get(scene.background, ())}
        for item in scene.items:
            assert item.material == "plain" or may_be_made(scene)
            assert not item.walking or (item.kind in WALKERS and scene.task == "object")


@pytest.mark.parametrize("material", MATERIALS)
def test_a_material_can_be_asked_for(material) -> None:
    for held_out in (False, True):
        scenes = [
            sample_scene(np.random.default_rng(index), "object", material=material, held_out=held_out)
            for index in range(50)
        ]
        assert {scene.items[0].material for scene in scenes if may_be_made(scene)} == {material}
        assert material == "plain" or all(map(may_be_made, scenes))


def test_scenes_and_pictures_follow_from_the_seed() -> None:
    assert training_scene(3, 14) == training_scene(3, 14)
    assert training_scene(3, 14) != training_scene(4, 14)
    assert np.array_equal(draw_array(training_scene(3, 14)), draw_array(training_scene(3, 14)))


@pytest.mark.parametrize("size", [64, SIZE])
def test_pictures_are_of_any_size(size) -> None:
    scene = training_scene(3, 14)
    assert draw_array(scene, size).shape == (size, size, 3)
    assert draw(scene).size == (SIZE, SIZE) == (128, 128)
    small = draw(scene).reduce(SIZE // size)
    assert np.abs(np.subtract(draw_array(scene, size), np.asarray(small), dtype=float)).mean() < 3  # the same picture


@pytest.mark.parametrize("task", TASKS)
def test_explicit_captions_name_everything(task) -> None:
    for index in range(100):
        scene = sample_scene(np.random.default_rng(index), task, explicit=True)
        assert scene.caption.endswith(f" {surroundings(scene.background)}")
        first = scene.items[0]
        if task == "count":
            kind = first.kind if len(scene.items) == 1 else plural(first.kind)
            assert scene.caption.startswith(f"{COUNTS[len(scene.items)]} {first.color} {kind} ")
        else:
            assert all(f"{item.color} {item.kind}" in scene.caption for item in scene.items)
        if scene.relation:
            assert f" {scene.relation} a" in scene.caption
        assert ("walking " in scene.caption) == first.walking
        named = [material for material in MATERIALS if f"{material} " in scene.caption]
        assert named == [first.material] * (first.material != "plain")


def test_relations_are_true_of_the_picture() -> None:
    for index in range(300):
        scene = sample_scene(np.random.default_rng(index), "relation")
        a, b = scene.items
        true = {
            "above": a.y + a.r < b.y - b.r + 0.06,
            "below": a.y - a.r > b.y + b.r - 0.06,
            "left of": a.x + a.r < b.x - b.r + 0.06,
            "right of": a.x - a.r > b.x + b.r - 0.06,
            "inside": np.hypot(a.x - b.x, a.y - b.y) + a.r < b.r,
        }
        assert true[scene.relation], scene


@pytest.mark.parametrize("color", COLORS)
def test_the_light_leaves_a_color_what_it_is(color) -> None:
    """A thing's pixels are within 18 % of its color, a background's within 5 %."""
    own = np.array(COLORS[color][0])
    item = Item("circle", color, 0.5, 0.5, 0.4)
    ticks = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    distance = np.hypot(ticks[:, None], ticks[None]) / item.r
    of_thing = draw_array(Scene((item,), next(c for c in COLORS if c != color), "object", ""))[distance < 0.9]
    assert (np.abs(of_thing - own.astype(float)) <= 0.18 * own + 2).all()
    other = Item("circle", next(c for c in COLORS if c != color), 0.5, 0.5, 0.4)
    of_ground = draw_array(Scene((other,), color, "object", ""))[distance > REACH]
    assert (np.abs(of_ground - own.astype(float)) <= 0.05 * own + 2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_things_are_in_the_picture_in_their_colors(kind) -> None:
    """Enough of it is nearer to its own color than to all others."""
    rgb = np.array([value for value, _ in COLORS.values()])
    for color in ("red", "green", "yellow"):
        picture = draw_array(Scene((Item(kind, color, 0.5, 0.5, 0.32),), "white", "object", "")).astype(float)
        nearest = np.linalg.norm(picture[..., None, :] - rgb, axis=-1).argmin(-1)
        assert (nearest == list(COLORS).index(color)).mean() > 0.05


@pytest.mark.parametrize("place", PLACES)
def test_places_are_no_plain_color(place) -> None:
    picture = draw_array(Scene((), place, "object", "")).astype(float)
    assert picture.std((0, 1)).max() > 20
    for other in PLACES:
        if other != place:
            apart = np.abs(picture - draw_array(Scene((), other, "object", ""))).max(-1)
            assert (apart > 30).mean() > 0.3
