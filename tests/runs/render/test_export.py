"""Grid, figure and film: every layer in its place, with its number; nothing half-written."""

from __future__ import annotations

import errno
import io
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageStat

from difflens_widgets.runs.render import grid as export
from difflens_widgets.runs.run import LensRun
from drawn_runs import drawn_run, picture

EMPTY: dict[str, Any] = {"images": {}, "snapshots": {}, "latents": {}}


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def places_of(sheet: Image.Image, part: Image.Image) -> list[tuple[int, int]]:
    """Where a picture stands in a sheet, pixel by pixel."""
    whole, wanted = np.asarray(sheet), np.asarray(part)
    corners = np.argwhere((whole == wanted[0, 0]).all(axis=2))
    height, width = wanted.shape[:2]
    return [(int(x), int(y)) for y, x in corners if np.array_equal(whole[y : y + height, x : x + width], wanted)]


def dark_pixels(image: Image.Image) -> int:
    return int((np.asarray(image.convert("L")) < 128).sum())


# --- grid -------------------------------------------------------------------------------------------------------------


def test_the_grid_has_every_picture_once_in_the_order_of_the_layers() -> None:
    run = drawn_run(layers=tuple(reversed(range(13))))
    sheet = run.grid()
    found = [places_of(sheet, enlarged(run.images[layer], 2)) for layer in range(13)]
    assert [len(places) for places in found] == [1] * 13
    reading_order = [(y, x) for [(x, y)] in found]
    assert reading_order == sorted(reading_order)
    assert len({x for _, x in reading_order}) == 5  # columns
    assert sheet.getpixel((0, 0)) == sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)


def test_under_each_picture_stands_its_number() -> None:
    run = drawn_run(depth=13)
    sheet = run.grid(columns=1)
    labels = []
    for layer in range(13):
        [(x, y)] = places_of(sheet, enlarged(run.images[layer], 2))
        labels.append(sheet.crop((x, y + 128, x + 128, y + 128 + 16)))
        assert dark_pixels(labels[-1]) > 40
    assert len({label.tobytes() for label in labels}) == 13


@pytest.mark.parametrize(("size", "side"), [(64, 128), (20, 140), (128, 128), (200, 200)])
def test_small_pictures_are_enlarged_by_a_whole_factor(size: int, side: int) -> None:
    run = drawn_run(depth=1, size=size, snapshots={})
    sheet = run.grid()
    assert len(places_of(sheet, enlarged(run.images[0], side // size))) == 1
    assert side < sheet.width < 1.3 * side


@pytest.mark.parametrize(("columns", "shape"), [(1, (1, 5)), (2, (2, 3)), (5, (5, 1)), (99, (5, 1)), (None, (3, 2))])
def test_the_grid_has_the_columns_asked_for(columns: int | None, shape: tuple[int, int]) -> None:
    run = drawn_run(depth=5)
    places = [places_of(run.grid(columns), enlarged(image, 2))[0] for image in run.images.values()]
    assert (len({x for x, _ in places}), len({y for _, y in places})) == shape


@pytest.mark.parametrize("columns", [0, -1, 2.5, True, "3"])
def test_columns_that_are_no_number_are_refused(columns: Any) -> None:
    with pytest.raises(ValueError, match=r"columns is .*, a whole number of at least 1 was expected"):
        drawn_run(depth=2).grid(columns)


def test_a_missing_layer_is_a_hollow_cell_that_says_so() -> None:
    run = drawn_run(depth=3)
    [(x, y)] = places_of(run.grid(3), enlarged(run.images[1], 2))
    del run.images[1]
    not_computed = run.grid(3).crop((x, y, x + 128, y + 128))
    run.failures[1] = "the latents are not finite"
    failed = run.grid(3).crop((x, y, x + 128, y + 128))
    assert dark_pixels(not_computed) > dark_pixels(failed) > 40  # the longer and the shorter words
    assert not_computed.crop((4, 4, 124, 44)).getextrema() == ((255, 255),) * 3
    assert not_computed.getpixel((0, 64)) == not_computed.getpixel((127, 64)) == (208, 208, 208)  # its outline


# --- figure -----------------------------------------------------------------------------------------------------------


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_the_figure_names_prompt_layers_and_settings() -> None:
    run = drawn_run(layers=tuple(reversed(range(13))))
    figure = run.plot()
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "a pink cat on a blue background"
    assert [axes.get_title() for axes in figure.axes] == [f"layer {layer}" for layer in range(13)]
    for layer, axes in enumerate(figure.axes):
        assert np.array_equal(axes.images[0].get_array(), np.asarray(run.images[layer]))
    assert "steps 4 · seed 0 · guidance 7.5 · difflens-tiny" in texts_of(figure)


def test_the_figure_says_which_layers_are_missing() -> None:
    run = drawn_run(depth=3, failures={2: "not finite"}, images={0: picture(0)})
    words = [[text.get_text() for text in axes.texts] for axes in run.plot().axes]
    assert words == [[], ["not computed"], ["failed"]]


@pytest.mark.parametrize(
    "prompt", [r"a $\frac{$ cat", "costs $5 or $6", "a_b^c \\begin{x} %", "", "word " * 200, "x" * 500]
)
def test_a_prompt_is_data_in_the_figure(prompt: str, tmp_path: Path) -> None:
    figure = drawn_run(prompt, depth=2).plot()
    figure.savefig(tmp_path / "a.png")
    shown = figure.get_suptitle().replace("\n", "")
    assert shown.replace(" ", "")[:40] == prompt.replace(" ", "")[:40]


def test_a_long_prompt_stays_inside_the_figure() -> None:
    for prompt in ("word " * 200, "W" * 300):
        figure = drawn_run(prompt, depth=13).plot()
        title = next(text for text in figure.texts if text.get_text() == figure.get_suptitle())
        box = title.get_window_extent()
        top_row = min(axes.get_tightbbox().y1 for axes in figure.axes[:5])
        assert box.y0 > top_row
        assert box.width < figure.bbox.width


def test_the_figure_does_not_depend_on_the_users_settings() -> None:
    with matplotlib.rc_context({"text.usetex": True, "figure.autolayout": True, "text.color": "white"}):
        figure = drawn_run(depth=2).plot()
        title = next(text for text in figure.texts if text.get_text() == figure.get_suptitle())
        assert not title.get_usetex()
        assert title.get_color() == "0.1"


def test_a_notebook_shows_the_figure_without_pyplot(tmp_path: Path) -> None:
    """Also a film and a page are made without torch, and without a window system."""
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'tkinter'): sys.modules[name] = None\n"
        "from drawn_runs import drawn_run\n"
        "figure = drawn_run(depth=2).plot()\n"
        "assert figure._repr_png_().startswith(b'\\x89PNG')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "drawn_run(depth=2).to_gif(sys.argv[1] + '/a.gif'); drawn_run(depth=2).to_html(sys.argv[1] + '/a.html')\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- film -------------------------------------------------------------------------------------------------------------


def frames_of(path: Path) -> tuple[list[Image.Image], list[int], int]:
    with Image.open(path) as film:
        frames, durations = [], []
        for index in range(film.n_frames):
            film.seek(index)
            frames.append(film.convert("RGB"))
            durations.append(film.info["duration"])
        return frames, durations, film.info["loop"]


def test_the_film_shows_all_layers_in_order_and_loops(tmp_path: Path) -> None:
    run = drawn_run(layers=tuple(reversed(range(13))), images={layer: picture(layer) for layer in reversed(range(13))})
    assert run.to_gif(tmp_path / "a.gif", seconds_per_layer=0.25) == tmp_path / "a.gif"
    frames, durations, loop = frames_of(tmp_path / "a.gif")
    assert durations == [250] * 12 + [500]
    assert loop == 0
    assert len(frames) == 13
    for layer, frame in enumerate(frames):
        painted = enlarged(run.images[layer], 2)
        assert frame.size == painted.size == (128, 128)
        above = (0, 0, 128, 104)  # the strip with the number is below
        difference = ImageStat.Stat(ImageChops.difference(frame.crop(above), painted.crop(above)))
        assert max(difference.mean) < 4


def test_each_frame_bears_its_number_in_the_corner(tmp_path: Path) -> None:
    same = picture(0)
    run = drawn_run(images=dict.fromkeys(range(13), same))
    frames, durations, _ = frames_of(run.to_gif(tmp_path / "a.gif"))
    assert len(frames) == len(durations) == 13  # equal pictures are not folded into one
    corners = [frame.crop((0, 108, 60, 128)) for frame in frames]
    assert all(dark_pixels(corner) > 20 for corner in corners)
    assert len({corner.tobytes() for corner in corners}) == 13
    assert frames[0].getpixel((1, 126)) == (255, 255, 255)


def test_photographs_keep_their_colours(tmp_path: Path) -> None:
    """A palette of each frame's own, dithered: a smooth gradient shows no bands."""
    y, x = np.mgrid[0:256, 0:256]
    smooth = Image.fromarray(np.stack([x, y, 255 - (x + y) // 2], axis=2).astype(np.uint8))
    red = Image.new("RGB", (256, 256), (200, 10, 10))
    frames, _, _ = frames_of(drawn_run(depth=2, images={0: smooth, 1: red}).to_gif(tmp_path / "a.gif"))
    blurred = [np.asarray(image.reduce(8), dtype=float)[:26] for image in (frames[0], smooth)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 3
    assert frames[1].getpixel((128, 10)) == (200, 10, 10)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_speed_that_cannot_be_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"seconds_per_layer is .*, expected 0.02 to 300"):
        drawn_run(depth=2).to_gif(tmp_path / "a.gif", seconds_per_layer=seconds)
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_does_not_fit_leaves_the_former_one(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"former")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="cannot save the film of 'a pink cat on a blue background'") as caught:
            drawn_run().to_gif(tmp_path / "a.gif")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.gif", b"former")]


# --- all of them ------------------------------------------------------------------------------------------------------


def test_a_run_without_pictures_is_refused(tmp_path: Path) -> None:
    run = drawn_run(**EMPTY)
    to_gif, to_html = partial(run.to_gif, tmp_path / "a.gif"), partial(run.to_html, tmp_path / "a.html")
    for export_it in (run.grid, run.plot, to_gif, to_html):
        with pytest.raises(ValueError, match="this run has no pictures yet"):
            export_it()
    assert list(tmp_path.iterdir()) == []
    assert run._repr_png_() is None


def test_a_run_shows_itself_as_its_grid() -> None:
    run: LensRun = drawn_run(depth=2)
    data = run._repr_png_()
    assert data is not None
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "PNG"
        assert ImageChops.difference(shown, run.grid()).getbbox() is None
    assert export.png(run.grid()) == data
