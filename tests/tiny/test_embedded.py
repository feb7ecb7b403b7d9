"""The model that ships: it opens offline, is small, and hears what it is told.

The floors here are well below the model card's figures (`python -m difflens_widgets.tiny.evaluation.score`): they
catch broken weights or a broken loader, not a slightly worse training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difflens_widgets import DiffusionLens, EmergenceTable
from difflens_widgets.models.known_words import FILE, unknown_words
from difflens_widgets.models.loading import WEIGHTS
from difflens_widgets.models.weight_hash import weight_hash
from difflens_widgets.tiny.caption_checks import CaptionCheck, background_right, claim_of, objects_right
from difflens_widgets.tiny.clip import SmallClip
from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.evaluation.score import clip_scores, judge_accuracy, scored_scenes
from difflens_widgets.tiny.judge import Judge
from difflens_widgets.tiny.scenes import COLORS, KINDS, Scene, training_scene

Painter = Callable[..., list[Image.Image]]
RESULTS = Path(__file__).parents[2] / "notebooks" / "results"


@pytest.mark.versions
def test_it_is_a_stable_diffusion_in_miniature(lens) -> None:
    assert type(lens.pipe).__name__ == "StableDiffusionPipeline"
    assert lens.num_layers == 13
    assert lens.model == "difflens-tiny"
    assert repr(lens) == "DiffusionLens('difflens-tiny', 13 layers of text_encoder)"
    assert lens.pipe.tokenizer.model_max_length == 77


@pytest.mark.versions
def test_it_says_which_words_it_was_never_trained_on() -> None:
    lens = DiffusionLens.from_pretrained()
    one = {"layers": [12], "num_inference_steps": 1}
    for prompt, unknown in [
        ("a dragon, the cat's ear and a Dragon", ["dragon", "the", "ear", "Dragon"]),
        ("a photo of xon dog: two purple mushrooms, 3 trees!", ["xon", "3"]),
        ("A Red circle/square", []),
        ("", []),
    ]:
        assert lens(prompt, **one).settings.get("unknown_words", []) == unknown
    with pytest.warns(UserWarning, match="cut off: “…gonfly”"):  # what is left of a word that is cut says nothing
        assert "unknown_words" not in lens("red " * 73 + "dragonfly", **one).settings
    patched = lens.patch("a cat", source="a dragon", tokens="all", **one)
    steered = lens.steer("a cat", direction=("huge", "a cat"), **one)
    assert [run.settings["unknown_words"] for run in (patched, steered)] == [["dragon"], ["huge"]]
    with torch.no_grad():
        lens.pipe.unet.conv_out.bias += 1  # whoever trains on may teach it more words
    assert "unknown_words" not in lens("a dragon", **one).settings


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_knows_itself_in_each_dtype(dtype) -> None:
    pipe = DiffusionLens.from_pretrained(device="cpu", dtype=dtype).pipe
    captions = [training_scene(0, index).caption for index in range(2_000)]
    assert unknown_words(pipe, weight_hash(pipe), [*captions, "a dragon"]) == ["dragon"]


def test_a_damaged_list_of_words_is_named(tmp_path) -> None:
    pipe = DiffusionLens.from_pretrained().pipe
    pipe.register_to_config(_name_or_path=str(tmp_path))
    assert unknown_words(pipe, weight_hash(pipe), ["a dragon"]) == []
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(ValueError, match=f"{FILE}: states no words"):
        unknown_words(pipe, weight_hash(pipe), ["a dragon"])


def test_its_weights_are_at_most_60_megabytes_in_small_files() -> None:
    sizes = [path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(sizes) <= 60e6
    assert max(sizes) <= 16e6


def test_the_judge_reads_drawn_scenes(judge) -> None:
    right, count = judge_accuracy(judge, 300)
    assert right / count >= 0.96


def test_its_clip_finds_the_caption_of_a_drawn_scene() -> None:
    """One of 60 by chance."""
    scenes = scored_scenes("object", 60)
    cosines, best = clip_scores(SmallClip.load(), [scene.caption for scene in scenes], [draw(one) for one in scenes])
    assert best / len(scenes) >= 0.9
    assert cosines.mean() > 0.3


def share(check: CaptionCheck, scenes: list[Scene], images: list[Image.Image], judge: Judge) -> float:
    """Of how many pictures the check is true."""
    return float(
        np.mean([check(claim_of(scene), read) for scene, read in zip(scenes, judge.read(images), strict=True)])
    )


def test_its_text_encoder_tells_kinds_apart(lens) -> None:
    """A former one kept "circle" 0.4 from "square" and 18 between colors: the U-Net could not know which to paint."""
    colors, kinds = ("red", "blue", "green", "yellow"), list(KINDS)
    captions = [f"a {color} {kind} on a white background" for color in colors for kind in kinds]
    ids = lens.pipe.tokenizer(captions, padding="max_length", return_tensors="pt").input_ids
    with torch.inference_mode():
        states = lens.pipe.text_encoder(ids).last_hidden_state[:, 3].float()  # start, a, color, kind
    of_kinds = states.unflatten(0, (len(colors), len(kinds))).mean(0)
    assert torch.pdist(of_kinds).min() > 3


def painted_scenes(painted: Painter, kind: str) -> tuple[list[Scene], list[Image.Image]]:
    """24 scored scenes, and the model's pictures of them."""
    scenes = scored_scenes(kind, 24)
    return scenes, painted([scene.caption for scene in scenes])


def test_it_paints_the_background(painted, judge) -> None:
    assert share(background_right, *painted_scenes(painted, "object"), judge) >= 0.9


def test_it_knows_kinds_of_things(painted, judge) -> None:
    """The card says 97 %; one of 288 by chance, in its color."""
    assert share(objects_right, *painted_scenes(painted, "object"), judge) >= 0.85


def test_it_paints_two_things_each_in_its_color(painted, judge) -> None:
    """The card says 97 %."""
    assert share(objects_right, *painted_scenes(painted, "pair"), judge) >= 0.85


def test_a_rare_word_means_nothing_yet(painted, judge) -> None:
    """So that DreamBooth can give it a meaning: with or without it there is a dog."""
    for prompt in ("a photo of xon dog", "a photo of a dog"):
        read = judge.read(painted([prompt] * 12))
        assert sum(reading.things.keys() == {"dog"} for reading in read) >= 11, prompt


def test_the_thing_in_front_has_its_color(two_rows) -> None:
    for color in ("red", "green", "black"):
        rgb = COLORS[color][0]
        picture = np.asarray(
            two_rows(f"a {color} circle on a yellow background", layers=[12], num_inference_steps=15).images[12], int
        )
        assert (np.abs(picture - rgb).sum(-1) < 60).mean() > 0.04, color


def test_the_first_layer_knows_less_than_the_last(two_rows, judge) -> None:
    """The lens has something to tell: the embeddings alone do not give the asked pictures."""
    scenes = scored_scenes("object", 6, held_out=False)
    right = {0: 0, 12: 0}
    for scene in scenes:
        run = two_rows(scene.caption, layers=[0, 12], num_inference_steps=12)
        for layer in right:
            right[layer] += background_right(claim_of(scene), judge.read([run.images[layer]])[0])
    assert right[0] < right[12] / 2


def test_the_published_experiment_is_of_these_weights(lens) -> None:
    """If not: python -m difflens_widgets.tiny.evaluation.emergence --out notebooks/results/emergence.json"""
    table = EmergenceTable.load(RESULTS / "emergence.json")
    assert table.settings["model_hash"] == weight_hash(lens.pipe)
    assert (len(table.layers), len(table.prompts)) == (13, 7)
    assert len(table.seeds) >= 1
    assert min(map(len, table.prompts.values())) >= 40


@pytest.mark.versions
def test_any_word_can_be_asked_for(lens) -> None:
    words = [
        token.text
        for token in lens("an Überraschung", layers=[12], num_inference_steps=1).tokens
        if token.kind == "word"
    ]
    assert len(words) > 2
