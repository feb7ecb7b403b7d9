"""The measure of what a training taught: it knows the subject when it sees it, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.evaluation.subject_fidelity import drawn_dogs, drawn_subjects, main, shows_subject, variety
from difflens_widgets.tiny.scenes import Markings, Scene
from difflens_widgets.tiny.subject import DOG, draw_subject


def drawn(dog, background):
    return draw(Scene((dog,), background, "object", ""))


def test_it_knows_the_subject_from_other_dogs() -> None:
    assert all(map(shows_subject, draw_subject()))
    assert np.mean([shows_subject(image) for image in drawn_subjects(60)]) >= 0.98
    assert np.mean([shows_subject(image) for image in drawn_dogs(60)]) <= 0.02


def test_a_background_is_no_ear_and_no_fur() -> None:
    plain = replace(DOG, markings=Markings())
    assert not shows_subject(drawn(plain, "purple"))
    assert not shows_subject(drawn(replace(DOG, color="white"), "orange"))
    assert shows_subject(drawn(DOG, "white"))


@pytest.mark.parametrize("side", [64, 128])
def test_small_pictures_show_it_too(side) -> None:
    assert all(map(shows_subject, draw_subject(side)))


def test_variety_is_the_distance_of_two_pictures() -> None:
    dark, bright = (Image.new("RGB", (8, 8), (value,) * 3) for value in (100, 110))
    assert variety([dark, bright]) == 10
    assert variety([dark, dark, dark]) == 0
    framed = ImageOps.expand(dark.crop((2, 2, 6, 6)), 2, fill=(255, 0, 0))
    assert variety([dark, framed]) == 0  # another background is no other dog


def test_the_command_measures_the_model_before_training(capsys) -> None:
    assert main(["--count", "2", "--steps", "2"]) == 0
    told = capsys.readouterr().out
    assert "drawn subjects" in told
    assert "a photo of xon dog" in told
    assert told.count("is read as a dog") == 2
    assert "variety of the class, of that before training: 1.00" in told


def test_a_folder_without_weights(tmp_path, capsys) -> None:
    assert main(["--count", "2", "--steps", "1", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
