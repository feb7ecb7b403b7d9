"""The world of the embedded model: known frequencies, held-out combinations, true captions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from difflens_widgets.tiny.drawing import draw, draw_array
from difflens_widgets.tiny.scenes import COLOURS, COUNTS, HELD_OUT, KINDS, TASKS, plural, sample_scene, training_scene
from difflens_widgets.tiny.text_encoder import other_binding, other_kind

SCENES = [training_scene(0, index) for index in range(4000)]


def test_held_out_combinations_never_occur_in_training() -> None:
    seen = {(item.colour, item.kind) for scene in SCENES for item in scene.items}
    assert not seen & HELD_OUT
    assert len(seen) > 0.95 * (len(COLOURS) * len(KINDS) - len(HELD_OUT))
    captions = " | ".join(scene.caption for scene in SCENES)
    assert not any(f"{colour} {kind} " in captions for colour, kind in HELD_OUT)


def test_held_out_scenes_are_nothing_else() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, held_out=True) for _ in range(200)]
    assert all((scene.items[0].colour, scene.items[0].kind) in HELD_OUT for scene in scenes)


def test_concepts_occur_as_often_as_written() -> None:
    kinds = Counter(scene.items[0].kind for scene in SCENES)
    assert 2 < kinds["circle"] / kinds["diamond"] < 3.6  # written: 4 to 1.5
    tasks = Counter(scene.task for scene in SCENES)
    for task, share in TASKS.items():
        assert abs(tasks[task] / len(SCENES) - share) < 0.03


def test_scenes_and_pictures_follow_from_the_seed() -> None:
    assert training_scene(3, 14) == training_scene(3, 14)
    assert training_scene(3, 14) != training_scene(4, 14)
    assert np.array_equal(draw_array(training_scene(3, 14)), draw_array(training_scene(3, 14)))


@pytest.mark.parametrize("task", TASKS)
def test_explicit_captions_name_everything(task) -> None:
    for index in range(100):
        scene = sample_scene(np.random.default_rng(index), task, explicit=True)
        assert scene.caption.endswith(f"{scene.background} background")
        first = scene.items[0]
        if task == "count":
            assert scene.caption.startswith(f"{COUNTS[len(scene.items)]} {first.colour} {plural(first.kind)} on")
        else:
            assert all(f"{item.colour} {item.kind}" in scene.caption for item in scene.items)
        if scene.relation:
            assert f" {scene.relation} a" in scene.caption


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


def test_things_are_in_the_picture_in_their_colours() -> None:
    scene = sample_scene(np.random.default_rng(1), "object", explicit=True)
    picture = draw_array(scene)
    background = np.array(COLOURS[scene.background][0])
    item = scene.items[0]
    corners = [picture[0, 0], picture[0, -1], picture[-1, 0], picture[-1, -1]]
    assert sum(np.array_equal(corner, background) for corner in corners) >= 3
    assert (np.abs(picture.astype(int) - COLOURS[item.colour][0]).sum(-1) < 12).mean() > 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_looks_different(kind) -> None:
    from dataclasses import replace

    scene = next(s for s in SCENES if s.task == "object")
    item = replace(scene.items[0], kind=kind)
    picture = draw(replace(scene, items=(item,))).tobytes()
    for other in KINDS:
        if other != kind:
            assert draw(replace(scene, items=(replace(item, kind=other),))).tobytes() != picture


def words_of(caption: str) -> list[str]:
    """Articles apart: they follow the word behind them."""
    return ["a" if word == "an" else word for word in caption.split()]


def test_hard_negatives_differ_in_what_they_are_for() -> None:
    rng = np.random.default_rng(0)
    kinds = {*KINDS, *map(plural, KINDS)}
    for scene in SCENES[:1000]:
        ours = words_of(scene.caption)
        other, bound = other_kind(scene.caption, rng), other_binding(scene.caption, rng)
        theirs = words_of(other)
        changed = [(one, two) for one, two in zip(ours, theirs, strict=True) if one != two]
        assert len(changed) == 1, other
        assert {*changed[0]} <= kinds, other
        if any(colour in ours for colour in COLOURS):
            assert len(ours) == len(words_of(bound))
            assert ours != words_of(bound)
            assert [word for word in ours if word in kinds] == [word for word in words_of(bound) if word in kinds]
        for text in (other, bound):  # no grammar mistake gives a negative away
            assert not any(f" {article} " in f" {text}" for article in ("a orange", "an red", "an green", "an blue"))


def test_negatives_keep_the_number() -> None:
    for seed in range(30):
        other = other_kind("two orange crosses on a red background", np.random.default_rng(seed)).split()
        assert other[2] in {*map(plural, KINDS)} - {"crosses"}
        assert "crosses" not in other_kind("a red cross", np.random.default_rng(seed))
