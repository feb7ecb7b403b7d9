"""SceneJudge: captions and what they claim, and drawn scenes, whose truth is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from difflens_widgets import SceneJudge
from difflens_widgets.tiny.caption_checks import QUESTIONS, Claim, claim_of, is_claimed, objects_right, read_caption
from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.judge import Judge, Reading, Seen
from difflens_widgets.tiny.scenes import MATERIALS, TASKS, Scene, sample_scene

# captions


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_captions_say_what_is_true_of_their_scenes(task, explicit) -> None:
    for index in range(300):
        scene = sample_scene(np.random.default_rng(index), task, explicit=explicit, held_out=index % 5 == 0)
        claim = read_caption(scene.caption)
        assert list(claim.things) == list(dict.fromkeys(item.kind for item in scene.items))
        assert (claim.count, claim.relation) == (scene.count if task == "count" else None, scene.relation)
        assert claim.background in ((scene.background,) if explicit else (scene.background, None))
        for item in scene.items:
            assert claim.things[item.kind] in ((item.color,) if explicit else (item.color, None))
        true = claim_of(scene)
        assert claim.materials == {kind: made for kind, made in true.materials.items() if made != "plain"}
        assert claim.walking == true.walking


@pytest.mark.parametrize("material", [material for material in MATERIALS if material != "plain"])
def test_captions_say_what_things_are_made_of(material) -> None:
    for index in range(100):
        scene = sample_scene(np.random.default_rng(index), "object", material=material)
        assert read_caption(scene.caption).materials == {scene.items[0].kind: material}


@pytest.mark.parametrize("task", TASKS)
def test_all_that_is_true_of_a_scene_is_claimed_of_it(task) -> None:
    for index in range(100):
        scene = sample_scene(np.random.default_rng(index), task)
        claim = claim_of(scene)
        things = Counter((item.kind, item.color, item.material) for item in scene.items)
        assert things == Counter(
            {(kind, color, claim.materials[kind]): claim.count for kind, color in claim.things.items()}
        )
        assert (claim.background, claim.relation) == (scene.background, scene.relation)
        assert claim.walking == tuple({item.kind for item in scene.items if item.walking})
        reading = reading_of(scene)
        assert QUESTIONS["everything"](claim, reading)
        assert QUESTIONS["everything"](read_caption(scene.caption), reading)
        assert objects_right(claim, reading)


def reading_of(scene: Scene) -> Reading:
    """What a judge that makes no mistake sees."""
    seen = {i.kind: Seen(i.color, scene.count, i.x, i.y, i.r, i.material) for i in scene.items}
    return Reading(scene.background, seen)


@pytest.mark.parametrize(
    ("caption", "claim"),
    [
        ("dog", Claim({"dog": None})),
        ("A  Photo of a big RED dog", Claim({"dog": "red"})),
        ("three blue fish", Claim({"fish": "blue"}, count=3)),
        ("two crosses on an orange background", Claim({"cross": None}, count=2, background="orange")),
        ("a star inside a red heart", Claim({"star": None, "heart": "red"}, relation="inside")),
        ("a red dog and a cat", Claim({"dog": "red", "cat": None})),
        ("one red cat at sea", Claim({"cat": "red"}, count=1, background="sea")),
        ("one fish", Claim({"fish": None}, count=1)),
        ("two fish on grass", Claim({"fish": None}, count=2, background="grass")),
        ("a small walking bear at night", Claim({"bear": None}, background="night", walking=("bear",))),
        ("a big striped orange boat", Claim({"boat": "orange"}, materials={"boat": "striped"})),
        (
            "a metallic star above a walking gray dog",
            Claim({"star": None, "dog": "gray"}, relation="above", materials={"star": "metallic"}, walking=("dog",)),
        ),
    ],
    ids=str,
)
def test_ways_to_write_a_caption(caption, claim) -> None:
    assert read_caption(caption) == claim


@pytest.mark.parametrize(
    "text",
    [
        *["", "a castle", "a red dog on a table", "dogs", "a red dog, a cat", "xon dog", "one dogs", "three dog"],
        *["a striped dog", "a plain circle", "a walking fish", "a walking car", "a dog on sea", "a dog on a sea"],
    ],
)
def test_other_prompts_are_no_captions(text) -> None:
    with pytest.raises(ValueError, match="is no caption of the embedded model's world, such as"):
        read_caption(text)


def test_two_things_of_one_kind_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="has two things of one kind"):
        read_caption("a red dog and a blue dog")


# questions

SEEN = {"dog": Seen("red", 1, 0.2, 0.5, 0.2), "star": Seen("blue", 2, 0.8, 0.5, 0.2, "striped")}
READING, BY_NIGHT = Reading("white", SEEN), Reading("night", SEEN)


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        ("kinds", "a pink dog", "a red cat"),
        ("kinds", "a dog and a star", "a dog and a cat"),
        ("colours", "a red dog", "a blue dog"),
        ("colours", "a red dog and a blue star", "a blue dog and a red star"),
        ("colours", "a dog and a blue star", "a dog and a green star"),
        ("hues", "a blue dog and a red star", "a green dog and a red star"),
        ("hues", "a red cat", "a pink dog"),
        ("count", "two pink stars", "three stars"),
        ("count", "two stars", "two cats"),
        ("count", "one dog", "one star"),
        ("material", "a striped star", "a dotted star"),
        ("material", "a striped red star", "a striped circle"),
        ("material", "a dog above a striped star", "a striped car above a striped star"),
        ("relation", "a dog left of a star", "a star left of a dog"),
        ("relation", "a star right of a dog", "a star right of a cat"),
        ("background", "a cat on a white background", "a red dog on a red background"),
        ("everything", "a red dog left of a blue star on a white background", "a red dog"),
        ("everything", "a dog and a star", "a dog and a star on a red background"),
        ("everything", "a dog and a star", "a dog above a star"),
        ("everything", "a red dog and a star", "a blue dog and a star"),
        ("everything", "a red dog and a striped star", "a red dog and a metallic star"),
        ("everything", "a dog and a star on a white background", "a dog and a star at night"),
    ],
)
def test_questions(question, right, wrong) -> None:
    assert QUESTIONS[question](read_caption(right), READING)
    assert not QUESTIONS[question](read_caption(wrong), READING)


def test_a_background_can_be_a_place() -> None:
    assert QUESTIONS["background"](read_caption("a cat at night"), BY_NIGHT)
    assert not QUESTIONS["background"](read_caption("a cat at sea"), BY_NIGHT)
    assert not QUESTIONS["background"](read_caption("a dog on a black background"), BY_NIGHT)


def test_objects_are_right_if_no_other_kind_is_there() -> None:
    assert objects_right(read_caption("a red dog and a blue star"), READING)
    assert not objects_right(read_caption("a red dog"), READING)
    assert not objects_right(read_caption("a red dog and a green star"), READING)


def test_whether_it_walks_is_not_asked() -> None:
    """The judge does not read it: a caption that says so is judged by the rest."""
    only = replace(READING, things={"dog": SEEN["dog"]})
    assert QUESTIONS["everything"](read_caption("a walking red dog"), only)


def test_everything_counts() -> None:
    only = replace(READING, things={"star": SEEN["star"]})
    assert QUESTIONS["everything"](read_caption("two blue stars"), only)
    assert not QUESTIONS["everything"](read_caption("three blue stars"), only)


def test_a_caption_claims_what_it_names() -> None:
    claimed = {question for question in QUESTIONS if is_claimed(question, read_caption("a dog above a cat"))}
    assert claimed == {"kinds", "relation", "everything"}
    claimed = {question for question in QUESTIONS if is_claimed(question, read_caption("two red dogs"))}
    assert claimed == {"kinds", "colours", "hues", "count", "everything"}
    claimed = {question for question in QUESTIONS if is_claimed(question, read_caption("a dotted car at sea"))}
    assert claimed == {"kinds", "material", "background", "everything"}
    claimed = {question for question in QUESTIONS if is_claimed(question, read_caption("one dog"))}
    assert claimed == {"kinds", "count", "everything"}


@pytest.fixture(scope="module")
def reader() -> Judge:
    return Judge.load()


def test_the_scene_judge_reads_drawn_scenes(reader) -> None:
    for task, material, questions in (
        ("object", None, ("kinds", "colours", "hues", "background", "everything")),
        ("object", "striped", ("material", "everything")),
        ("pair", None, ["colours"]),
    ):
        seeds = [[i, 5] for i in range(20)]
        scenes = [sample_scene(np.random.default_rng(s), task, explicit=True, material=material) for s in seeds]
        images = [draw(scene) for scene in scenes]
        for question in questions:
            judge = SceneJudge(question, reader)
            right = [judge.judge(images[i : i + 1], scene.caption)[0] for i, scene in enumerate(scenes)]
            # one caption against all pictures: few others show it
            others = judge.judge(images, scenes[0].caption)
            assert sum(right) >= 18, question
            assert others[0] == right[0]
            assert sum(others) < 12, question


def test_the_scene_judge_takes_another_reader(reader) -> None:
    class Blind(Judge):
        def read(self, images):
            return [Reading("white", {}) for _ in images]

    torch.manual_seed(0)
    scene = sample_scene(np.random.default_rng(3), "object", explicit=True)
    blind = SceneJudge("kinds", Blind())
    assert blind.judge([draw(scene)] * 2, scene.caption) == [False, False]
    assert SceneJudge("kinds").judge([draw(scene)], scene.caption) == [True]  # the one that ships
    assert SceneJudge("kinds", reader).description == SceneJudge("kinds").description != blind.description
    assert SceneJudge("hues", reader).description != SceneJudge("kinds").description


def test_the_scene_judge_refuses(reader) -> None:
    with pytest.raises(ValueError, match="asks: 'kind' is none of kinds, colours"):
        SceneJudge("kind", reader)
    for asks, prompt in (
        ("relation", "a dog and a cat"),
        ("background", "a dog"),
        ("colours", "a dog"),
        ("count", "dog"),
        ("material", "a red house"),
    ):
        with pytest.raises(ValueError, match=f"claims nothing that the judge of {asks!r} could look for"):
            SceneJudge(asks, reader).judge([], prompt)
    assert SceneJudge("kinds", reader).judge([], "a dog") == []
