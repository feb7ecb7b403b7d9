"""The score: what it asks, of a painter and a judge that make no mistakes, and of a painter that makes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from difflens_widgets.tiny.caption_checks import claim_of, read_caption
from difflens_widgets.tiny.evaluation import score
from difflens_widgets.tiny.evaluation.score import (
    TASKS,
    Prompts,
    clip_scores,
    contact_sheet,
    judge_accuracy,
    main,
    scored_scenes,
)
from difflens_widgets.tiny.judge import Reading, Seen
from difflens_widgets.tiny.scenes import HELD_OUT, PLACES, Scene

COUNT = 30
SCENES = {scene.caption: scene for task in TASKS for scene in task.prompts.scenes(COUNT)}


class World:
    """Pictures that are blank, but known: it draws, paints and reads them without any mistake but `change`'s."""

    size = 8

    def __init__(self, change: Any = lambda scene: scene) -> None:
        self.change, self.scenes, self.asked = change, [], []
        self.components: dict[str, Any] = {}
        self.config: dict[str, Any] = {}

    def draw(self, scene: Scene, size: int = 8) -> Image.Image:
        self.scenes.append(scene)
        return Image.fromarray(np.frombuffer(np.int64(len(self.scenes) - 1).tobytes() * 24, np.uint8).reshape(8, 8, 3))

    def shown(self, image: Image.Image) -> Scene:
        return self.scenes[np.frombuffer(image.tobytes()[:8], np.int64)[0]]

    def set_progress_bar_config(self, **options: Any) -> None: ...

    def __call__(self, texts: Sequence[str], **options: Any) -> Any:
        self.asked.append(options)
        return SimpleNamespace(images=[self.draw(self.change(SCENES[text])) for text in texts])

    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        return [self.reading(self.shown(image)) for image in images]

    def reading(self, scene: Scene) -> Reading:
        things = {i.kind: Seen(i.color, scene.count, i.x, i.y, i.r, i.material) for i in scene.items}
        return Reading(scene.background, things)

    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        return np.stack([np.random.default_rng(list(text.encode())).normal(size=64) for text in captions]) / 8

    def of_pictures(self, images: Sequence[Image.Image]) -> np.ndarray:
        return self.of_captions([self.shown(image).caption for image in images])


def scored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, world: World, *more: str) -> list[str]:
    monkeypatch.setattr(score, "draw", world.draw)
    monkeypatch.setattr(score, "load_pipeline", lambda *arguments: (world, "a world"))
    monkeypatch.setattr(score.Judge, "load", lambda folder: world)
    monkeypatch.setattr(score.SmallClip, "load", lambda folder: world)
    assert main(["--count", str(COUNT), "--steps", "7", "--guidance-scale", "3.5", *more]) == 0
    return capsys.readouterr().out.splitlines()


def shares(lines: Sequence[str]) -> dict[str, str]:
    return {line[:40].strip(): line[40:47].strip() for line in lines[1:]}


def test_the_table(monkeypatch, capsys, tmp_path: Path) -> None:
    world = World()
    lines = scored(monkeypatch, capsys, world, "--sheet", str(tmp_path / "sheets"))
    assert lines[0].startswith("a world ")
    assert "· 7 steps · guidance 3.5 ·" in lines[0]
    assert {(options["num_inference_steps"], options["guidance_scale"]) for options in world.asked} == {(7, 3.5)}
    found = shares(lines)
    assert list(found)[:10] == ["judge, drawn scenes never seen", *(task.name for task in TASKS)]
    assert {share for name, share in found.items() if "cosine" not in name} == {"100.0%"}
    counts = {line[:40].strip(): int(line.split("n = ")[1]) for line in lines[1:]}
    assert counts["background, a colour"] + counts["background, a place"] == COUNT
    assert counts["background, a place"] > 0
    assert counts["CLIP-T, mean cosine"] == counts["CLIP-T, mean cosine, drawn"] == 6 * COUNT
    names = ["count", "object", "object-held-out", "object-material", "pair", "relation"]
    assert sorted(path.stem for path in (tmp_path / "sheets").iterdir()) == names
    assert len(world.asked) == 6  # what two tasks ask for is painted once


def recolored(scene: Scene) -> Scene:
    return replace(scene, items=tuple(replace(i, color="teal") for i in scene.items), caption="")


def one_more(scene: Scene) -> Scene:
    return replace(scene, items=(*scene.items, replace(scene.items[0], kind="ghost")))


def elsewhere(scene: Scene) -> Scene:
    return replace(scene, background="moon", items=tuple(replace(i, material="plain", x=0, y=0) for i in scene.items))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (
            recolored,
            {
                *("one object with its colour", "two objects with their own colours"),
                *("colour binding, where both are there", "held-out combination"),
            },
        ),
        (one_more, {"one object with its colour", "two objects with their own colours", "held-out combination"}),
        (elsewhere, {"background, a colour", "background, a place", "relation", "material"}),
    ],
    ids=["other colours", "one thing more", "another place"],
)
def test_each_mistake_is_found_by_the_tasks_that_ask_for_it(change, wrong, monkeypatch, capsys) -> None:
    found = shares(scored(monkeypatch, capsys, World(change)))
    tasks = {task.name: float(found[task.name][:-1]) for task in TASKS}
    assert {name for name, share in tasks.items() if share < 50} == wrong
    assert {tasks[name] for name in tasks.keys() - wrong} == {100.0}
    if change is recolored:  # whose pictures have no caption of theirs
        assert float(found["CLIP-T, the own caption fits best"][:-1]) < 50
        assert found["CLIP-T, the own caption fits best, drawn"] == "100.0%"


def test_what_cannot_be_scored_is_one_line(capsys, tmp_path: Path) -> None:
    assert main(["--count", "0"]) == 2
    assert "count: 0 must be at least 1" in capsys.readouterr().err
    assert main(["--judged-by", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_the_prompts_say_all_that_is_asked() -> None:
    for task in TASKS:
        for scene in task.prompts.scenes(60):
            said, true = read_caption(scene.caption), claim_of(scene)
            assert (said.things, said.background, said.relation) == (true.things, true.background, true.relation)
            if task.name == "count":
                assert said.count == true.count
            if task.name == "material":
                assert said.materials == true.materials
            if task.prompts.held_out:
                assert (scene.items[0].color, scene.items[0].kind) in HELD_OUT
    made = [scene.items[0].material for scene in Prompts("object", made=True).scenes(6)]
    assert made == ["striped", "dotted", "metallic"] * 2
    assert any(scene.background in PLACES for scene in scored_scenes("object", 30))
    assert scored_scenes("pair", 20)[:5] == scored_scenes("pair", 5)


def test_one_mistake_of_any_kind_is_one_of_the_judges(monkeypatch) -> None:
    world = World()
    monkeypatch.setattr(score, "draw", world.draw)
    assert judge_accuracy(world, 40) == (40, 40)
    right = world.reading

    def wrong_material(scene: Scene) -> Reading:
        reading = right(scene)
        return replace(reading, things={k: replace(seen, material="furry") for k, seen in reading.things.items()})

    def wrong_count(scene: Scene) -> Reading:
        reading = right(scene)
        return replace(reading, things={k: replace(seen, count=seen.count + 1) for k, seen in reading.things.items()})

    for mistake in (wrong_material, wrong_count, lambda scene: replace(right(scene), background="moon")):
        world.reading = mistake
        assert judge_accuracy(world, 40) == (0, 40)


def test_clip_scores_are_of_the_own_caption() -> None:
    captions = np.eye(3, 4)
    pictures = np.array([[0.9, 0.1, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 0.5, 0], [0.7, 0, 0, 0.7]])
    clip = SimpleNamespace(of_captions=lambda texts: captions[: len(texts)], of_pictures=lambda images: pictures)
    cosines, best = clip_scores(clip, ["a", "b", "c", "a"], [None] * 4)  # "a" twice is one caption
    assert cosines.tolist() == [0.9, 0.6, 0.5, 0.7]
    assert best == 3


def test_a_contact_sheet_has_pictures_as_large_as_they_are() -> None:
    images = [Image.new("RGB", (5, 4), (index, 0, 0)) for index in range(10)]
    sheet = contact_sheet(images)
    assert sheet.size == (8 * 5, 2 * 4)
    assert [sheet.getpixel((index % 8 * 5 + 4, index // 8 * 4 + 3))[0] for index in range(10)] == list(range(10))
    assert sheet.getpixel((39, 7)) == (255, 255, 255)
