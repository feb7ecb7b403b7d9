"""The overlap of a word's attention with its thing: on made-up maps and drawn scenes, where the answer is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps
from difflens_widgets.runs.maps.plan import Block, Plan
from difflens_widgets.runs.tokens import Token
from difflens_widgets.tiny.drawing import SIZE, draw
from difflens_widgets.tiny.evaluation.attention_overlap import (
    COLOR,
    GROUND,
    OBJECT,
    WORD,
    Measured,
    cut_out,
    main,
    mass_over_area,
    measure,
    measured_scenes,
    object_mask,
    report,
    words_of,
)
from difflens_widgets.tiny.evaluation.score import scored_scenes
from difflens_widgets.tiny.scenes import COLORS, PLACES, Item, Scene

SCENES = measured_scenes(120)
CIRCLE = Scene((Item("circle", "red", 0.5, 0.5, 0.3),), "blue", "object", "a red circle on a blue background")


def test_backgrounds_are_colors() -> None:
    """The scored scenes, but for those in places, which no word of a color tells and whose border is not even."""
    assert {scene.background for scene in SCENES} <= COLORS.keys()
    scored = scored_scenes("object", 200)
    assert any(scene.background in PLACES for scene in scored)
    assert [scene for scene in scored if scene.background in COLORS][:120] == SCENES


# the mask


@pytest.mark.parametrize("noise", [0, 10])
def test_the_mask_is_where_the_thing_was_drawn(noise) -> None:
    rng = np.random.default_rng(0)
    found = []
    for scene in SCENES:
        pixels = np.asarray(draw(scene), dtype=float)
        drawn = (np.abs(pixels - np.asarray(draw(replace(scene, items=())))) > 2).any(-1)
        mask = object_mask(Image.fromarray((pixels + rng.normal(0, noise, pixels.shape)).clip(0, 255).astype(np.uint8)))
        assert mask is not None, scene.caption
        found.append((mask & drawn).sum() / (mask | drawn).sum())
    assert min(found) > 0.8
    assert np.median(found) > 0.95


def test_it_does_not_depend_on_the_background_that_was_asked_for() -> None:
    """What was drawn counts: a green ground in place of the blue one makes no difference but at the smooth edge."""
    blue, green = object_mask(draw(CIRCLE)), object_mask(draw(replace(CIRCLE, background="green")))
    assert (blue != green).sum() < 0.06 * blue.sum()


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint8))


def test_specks_are_no_object_and_holes_are_not_filled() -> None:
    pixels = np.full((64, 64, 3), 40)
    pixels[20:40, 10:50] = 200
    pixels[26:34, 20:40] = 40
    pixels[50, 30] = 250
    expected = (pixels == 200).all(-1)
    mask = object_mask(picture(pixels))
    assert not mask[50, 30]
    assert not mask[28:32, 22:38].any()
    assert (mask != expected).sum() <= 9  # the speck is out already; corners are rounded


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((64, 64, 3), 90),
        np.concatenate([np.full((64, 32, 3), 30), np.full((64, 32, 3), 220)], axis=1),
        np.random.default_rng(0).integers(0, 256, (64, 64, 3)),
        np.pad(np.full((54, 54, 3), 240), ((5, 5), (5, 5), (0, 0))),
        np.pad(np.full((4, 4, 3), 240), ((30, 30), (30, 30), (0, 0))),
    ],
    ids=["nothing", "two halves", "noise", "too large", "too small"],
)
def test_where_nothing_can_be_told_there_is_no_mask(pixels) -> None:
    assert object_mask(picture(pixels)) is None


def test_a_picture_need_not_be_square() -> None:
    pixels = np.full((32, 64, 3), 250)
    pixels[8:24, 40:56] = (200, 30, 30)
    mask = object_mask(picture(pixels))
    assert mask.shape == (32, 64)
    assert (mask != (pixels[..., 1] == 30)).sum() <= 4


def test_the_cut_out_is_gray_outside() -> None:
    image = draw(CIRCLE)
    mask = object_mask(image)
    shown = np.asarray(cut_out(image, mask))
    assert (shown[~mask] == 128).all()
    assert np.array_equal(shown[mask], np.asarray(image)[mask])
    assert (np.asarray(cut_out(image, None)) == 128).all()


# the number


LEFT = np.zeros((16, 16), dtype=bool)
LEFT[:, :4] = True  # a quarter, one column of the map


def made_up(**columns: tuple[float, float, float, float]) -> AttentionMaps:
    """Maps 4 × 4 of the words of CIRCLE's caption; each word's weight in the four columns, else the same everywhere."""
    words = CIRCLE.caption.split()
    texts = ["<s>", *words, "</s>"]
    kinds = ["bos", *["word"] * len(words), "eos"]
    tokens = tuple(Token(i, text, kind) for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)))
    maps = np.stack([np.tile(np.asarray(columns.get(text, (1, 1, 1, 1)), dtype=np.float32), (4, 1)) for text in texts])
    plan = Plan(tokens, "mean", 16, 16, (4, 4), (Block("mid_block", 4, 4, 1),), (), 1)
    return AttentionMaps(plan, BlockMaps({"mid_block": maps}, 1))


@pytest.mark.parametrize(
    ("columns", "number"), [((1, 0, 0, 0), 4.0), ((1, 1, 1, 1), 1.0), ((0, 1, 1, 1), 0.0), ((3, 1, 1, 1), 2.0)]
)
def test_mass_over_area(columns, number) -> None:
    assert mass_over_area(made_up(circle=columns), LEFT, "circle") == pytest.approx(number)


def test_the_words_that_are_measured() -> None:
    assert words_of(CIRCLE) == {OBJECT: "circle", COLOR: "red", GROUND: "blue", WORD: "background"}
    for scene in SCENES:
        for word in words_of(scene).values():
            assert scene.caption.split().count(word) == 1


def measured(*ratios: float) -> Measured:
    image = draw(CIRCLE)
    return Measured(CIRCLE, image, object_mask(image), dict(zip((OBJECT, COLOR, GROUND, WORD), ratios, strict=True)))


UNSEEN = Measured(CIRCLE, Image.new("RGB", (64, 64)), None)


def test_the_report_counts_and_takes_medians() -> None:
    lines = report(
        [
            measured(1.5, 1.3, 0.8, 0.7),
            measured(1.4, 1.2, 1.6, 0.9),
            UNSEEN,
            measured(0.9, 1.1, 0.5, 0.6),
            measured(1.3, 0.5, 1.2, 1.4),
        ]
    ).splitlines()
    assert lines[0] == "5 prompts; an object is seen in 4 pictures, 26% of their area"
    shown = {line[:28].strip(): re.findall(r"[\d.]+", line[28:]) for line in lines[2:6]}
    medians = {OBJECT: "1.35", COLOR: "1.15", GROUND: "1.00", WORD: "0.80"}
    above = {OBJECT: "75.0", COLOR: "75.0", GROUND: "50.0", WORD: "25.0"}
    assert {what: found[0] for what, found in shown.items()} == medians
    assert {what: found[3] for what, found in shown.items()} == above
    assert shown[OBJECT][1:3] == ["0.90", "1.50"]  # of so few, the interval is all that was seen
    assert {found[-1] for found in shown.values()} == {"4"}
    shares = {line[:56].strip(): line[56:].split()[0] for line in lines[6:]}
    assert shares == {
        f"{OBJECT} above {GROUND}": "75.0%",
        f"{OBJECT} above {WORD}": "75.0%",
        f"{OBJECT} above 1 and both": "25.0%",
    }


def test_an_even_map_is_not_above_chance() -> None:
    assert re.search(rf"{OBJECT} +1\.00 +\[1\.00, 1\.00\] +0\.0% ", report([measured(1.0, 1, 1, 1)] * 3))


def test_pictures_without_an_object_are_said_not_averaged() -> None:
    with pytest.raises(ValueError, match="in none of 2 pictures is there an object"):
        report([UNSEEN, UNSEEN])


# on the embedded model


QUICK: dict[str, Any] = {"num_inference_steps": 6, "guidance_scale": 7.5, "aggregator": "mean"}


@pytest.fixture(scope="module")
def few(pipe) -> list[Measured]:
    return list(measure(pipe, SCENES[:3], **QUICK))


def test_the_pictures_are_the_stock_pipelines_and_the_numbers_are_of_their_masks(few) -> None:
    assert [one.scene for one in few] == SCENES[:3]
    for one in few:
        assert one.image.size == (SIZE, SIZE)
        assert one.mask is None or np.array_equal(one.mask, object_mask(one.image))
        assert list(one.ratios) == ([] if one.mask is None else [OBJECT, COLOR, GROUND, WORD])
        if one.mask is not None:
            assert all(0 < number < 1 / one.mask.mean() for number in one.ratios.values())


@pytest.mark.parametrize(
    "change", [{"num_inference_steps": 5}, {"guidance_scale": 3.0}, {"aggregator": "daam"}], ids=str
)
def test_every_argument_counts(pipe, few, change) -> None:
    other = list(measure(pipe, SCENES[:3], **{**QUICK, **change}))
    same_pictures = [a.image.tobytes() == b.image.tobytes() for a, b in zip(few, other, strict=True)]
    assert same_pictures == [change.keys() == {"aggregator"}] * 3
    if all(same_pictures):
        assert any(one.ratios for one in few)
        assert all(a.ratios != b.ratios for a, b in zip(few, other, strict=True) if a.ratios)


def test_a_picture_does_not_depend_on_its_batch(pipe, few, monkeypatch) -> None:
    monkeypatch.setattr("difflens_widgets.tiny.evaluation.attention_overlap._BATCH", 2)
    for one, other in zip(few, measure(pipe, SCENES[:3], **QUICK), strict=True):
        apart = np.abs(np.asarray(one.image, int) - np.asarray(other.image, int))
        assert apart.max() <= 2
        assert other.ratios == pytest.approx(one.ratios, rel=0.05)


def test_the_command(tmp_path: Path, capsys) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["--count", "4", "--steps", "8", "--guidance-scale", "6", "--aggregator", "daam", "--sheet", str(sheet)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"difflens-tiny [0-9a-f]{16} · 8 steps · guidance 6 · daam", lines[0])
    assert lines[1].startswith("4 prompts; an object is seen in ")
    share = r"[\d.]+%   \[[\d.]+%, [\d.]+%\]  n = \d"
    for what, line in zip((OBJECT, COLOR, GROUND, WORD), lines[3:7], strict=True):
        assert re.fullmatch(rf"{what} +[\d.]+   \[[\d.]+, [\d.]+\] +{share}", line)
    assert all(re.fullmatch(rf"{OBJECT} above .+ {share}", line) for line in lines[7:10])
    assert len(lines) == 10
    with Image.open(sheet) as pictures:
        assert pictures.size == (8 * SIZE, SIZE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "count: 0 must be at least 1"),
        (["--steps", "0"], "num_inference_steps: 0 must be at least 1"),
        (["--model", "./nowhere"], "./nowhere: no such file or folder"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
