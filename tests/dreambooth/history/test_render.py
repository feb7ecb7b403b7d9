"""A training as one sheet and as a film."""

from __future__ import annotations

import pytest
from PIL import Image

from browser import training
from difflens_widgets.dreambooth.history.events import EpochValidated


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    return training.finished((0, 100, 350), folder=tmp_path_factory.mktemp("film"))


def test_the_sheet_has_epochs_across_and_layers_down(history):
    sheet = history.grid(1)
    left, top, across, down = 60, 48, 64 + 4, 64 + 4
    assert sheet.size == (left + 3 * across, top + 13 * down)
    for place, epoch in enumerate((0, 100, 350)):
        for layer in (0, 7, 12):
            box = (left + place * across, top + layer * down)
            cell = sheet.crop((*box, box[0] + 64, box[1] + 64))
            assert cell.tobytes() == history.run(epoch, 1).images[layer].tobytes()


def test_a_large_picture_is_brought_down_and_a_hole_is_hollow(tmp_path):
    history = training.new(tmp_path)
    run = training.generate(0, 0, 256)
    del run.images[12]
    history.record(EpochValidated(0, 0, run))
    sheet = history.grid()
    assert sheet.size == (80 + 128 + 8, 64 + 13 * 136)
    assert sheet.getpixel((80 + 64, 64 + 12 * 136 + 64)) == (255, 255, 255)
    assert sheet.getpixel((80, 64 + 12 * 136)) == (208, 208, 208)


def test_the_film_goes_through_the_epochs(history, tmp_path):
    path = history.to_gif(tmp_path / "a.gif", layer=12, seconds_per_epoch=0.2)
    with Image.open(path) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (128, 128), 200)
        film.seek(2)
        last = film.convert("RGB").getpixel((4, 4))
    assert max(abs(a - b) for a, b in zip(last, history.run(350).images[12].getpixel((2, 2)), strict=True)) < 12


def test_what_cannot_be_drawn(history, tmp_path):
    nothing = training.new(tmp_path)
    with pytest.raises(ValueError, match="no images yet"):
        nothing.grid()
    assert nothing._repr_png_() is None
    assert history._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no image of layer 40"):
        history.to_gif(tmp_path / "a.gif", layer=40)
    with pytest.raises(ValueError, match="seconds_per_epoch is 0"):
        history.to_gif(tmp_path / "a.gif", layer=1, seconds_per_epoch=0)
