"""Pages as data: which widgets a page has, what a budget leaves out, and that no byte of a map is lost."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

from browser import training
from difflens_widgets import Comparison, LensRun, TrainingHistory, to_html
from difflens_widgets.dreambooth.history.events import Alarm
from difflens_widgets.runs.render.page.view import MAX_THINNING, PageView, kept
from drawn_comparisons import drawn_comparison
from drawn_runs import attention_run, drawn_run, picture
from written_pages import data_of, reduced

PROGRAM = 58_000  # bytes of a page without pictures
EPOCHS = (0, 50, 100, 150, 200, 250)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> TrainingHistory:
    return training.finished(EPOCHS, folder=tmp_path_factory.mktemp("page"))


def test_each_result_has_its_widgets(tmp_path: Path, history: TrainingHistory) -> None:
    expected = {
        "run": (drawn_run(depth=2), ["layer_slider"]),
        "attention": (attention_run(), ["layer_slider", "token_attention_grid"]),
        "comparison": (drawn_comparison(), ["diff_viewer"]),
        "training": (history, ["epoch_scrubber"]),
    }
    for name, (source, widgets) in expected.items():
        data = data_of(source.to_html(tmp_path / f"{name}.html"))
        assert [view["module"] for view in data["views"]] == widgets
        assert sorted(data["modules"]) == sorted(widgets)  # no program that nothing uses
        assert all(view["state"]["_static"] for view in data["views"])


def test_several_are_one_page_with_a_menu(tmp_path: Path, history: TrainingHistory) -> None:
    sources = [attention_run(), drawn_comparison(), history]
    path = to_html(sources, tmp_path / "a.html", title="all  of\nthem")
    text = path.read_text("utf-8")
    assert [view["group"] for view in data_of(path)["views"]] == [0, 0, 1, 2]
    assert re.findall(r'title="([^"]*)">', text) == [
        *("Layers: a pink cat", "Attention: a pink cat", "Raw and tuned: a pink cat on a blue background"),
        *("Training: a photo of xon dog", "All"),
    ]
    assert "<title>all of them</title>" in text
    assert "<nav" not in drawn_run(depth=1).to_html(tmp_path / "b.html").read_text("utf-8")


def test_maps_come_through_to_the_byte(tmp_path: Path) -> None:
    run = attention_run()
    view = data_of(run.to_html(tmp_path / "a.html"))["views"][1]
    frames = run.page_views()[1].state["_frames"]
    packed = {each["path"][1]: each for each in view["buffers"]}
    assert packed.keys() == frames.keys()
    for key, frame in frames.items():
        data = base64.b64decode(packed[key]["base64"])
        assert packed[key]["gzip"] == key.startswith("maps/")
        assert (gzip.decompress(data) if packed[key]["gzip"] else data) == frame["data"]


@pytest.mark.parametrize("thinning", range(MAX_THINNING + 1))
def test_thinned_views_are_whole(thinning: int, history: TrainingHistory) -> None:
    """No trait names a picture that is not there, and the first and the last picture stay."""
    slider, grid = drawn_run(attention=attention_run().attention).page_views(thinning)
    assert (slider.state["layers"][0], slider.state["layers"][-1], slider.state["layer"]) == (0, 12, 12)
    steps = {int(key.split("/")[3]) for key in slider.state["_frames"] if "/step/" in key}
    assert steps == {*slider.state["snapshots"]}
    for view in (slider, grid):
        assert {int(key.split("/")[1]) for key in view.state["_frames"]} == {*view.state["layers"]}
    assert [each["block"] for each in grid.state["_views"] if each["block"]] == grid.state["blocks"]
    assert len(grid.state["steps"]) == (0 if thinning else 2)

    (viewer,) = drawn_comparison().page_views(thinning)
    assert {key.split("/")[0] for key in viewer.state["_frames"]} == {*viewer.state["models"], "difference"}
    values = [series["values"] for metric in viewer.state["metrics"] for series in metric["series"]]
    assert {len(each) for each in values} == {len(viewer.state["layers"])}

    (scrubber,) = history.page_views(thinning)
    epochs = scrubber.state["epochs"]
    assert (epochs[0], epochs[-1], scrubber.state["epoch"]) == (0, 250, 250)
    assert {int(key.split("/")[3]) for key in scrubber.state["_frames"]} == {*epochs}
    drift = scrubber.state["training_drift"]
    assert {int(key.split("/")[1]) for key in drift} == {*epochs}
    assert {len(row) for rows in drift.values() for row in rows.values()} == {len(scrubber.state["layers"])}
    assert len(epochs) < len(EPOCHS) or not thinning


def test_an_epoch_with_an_alarm_is_not_left_out(tmp_path: Path) -> None:
    history = training.finished((0, 50, 100, 150, 200), folder=tmp_path)
    history.alarms = [Alarm("forgetting", 150, 12, 1, "the class is forgotten")]
    assert history.page_views(2)[0].state["epochs"] == [0, 150, 200]


def test_which_ones_are_kept() -> None:
    assert kept(range(13), 4) == [0, 4, 8, 12]
    assert kept([0, 5, 9, 11, 12], 2) == [0, 9, 12]
    assert kept([3], 4) == [3]
    assert kept([], 2) == []


def test_a_budget_reduces_pictures_before_it_fails(tmp_path: Path) -> None:
    run = drawn_run(size=256, depth=7, images={layer: picture(layer, 256) for layer in range(7)})
    whole = run.to_html(tmp_path / "a.html").stat().st_size
    told = []
    for share in (0.8, 0.4, 0.2):
        allowed = int(PROGRAM + share * (whole - PROGRAM))
        path = run.to_html(tmp_path / f"{share}.html", max_bytes=allowed)
        assert path.stat().st_size <= allowed
        told.append(reduced(path))
    assert reduced(tmp_path / "a.html") == ""
    assert all(
        re.fullmatch(r"Reduced to fit into \d+ KB: pictures of at most \d+ pixels a side.*\.", each) for each in told
    )
    quality = [int(re.search(r"quality (\d+)", each)[1]) for each in told]
    assert quality == sorted(quality, reverse=True)
    with pytest.raises(ValueError, match=r"max_bytes: this page takes at least \d+ KB, however small .* 2,000 bytes"):
        run.to_html(tmp_path / "small.html", max_bytes=2000)
    assert not (tmp_path / "small.html").exists()


def test_a_page_that_leaves_pictures_out_says_so(tmp_path: Path) -> None:
    run = drawn_run(depth=13)
    with pytest.raises(ValueError, match="however small its pictures are") as caught:
        run.to_html(tmp_path / "a.html", max_bytes=1)
    least = 1000 * int(re.search(r"at least (\d+) KB", str(caught.value))[1])
    path = run.to_html(tmp_path / "a.html", max_bytes=least)
    layers = data_of(path)["views"][0]["state"]["layers"]
    assert layers[-1] == 12
    assert len(layers) < 13
    assert "left out: the denoising steps, " in reduced(path)
    assert "layer" in reduced(path)


@pytest.mark.parametrize("wrong", [0, -5, 1.5, True, "1 MB"])
def test_a_budget_that_is_none(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match="max_bytes: expected a number of bytes, 1 or more"):
        drawn_run(depth=1).to_html(tmp_path / "a.html", max_bytes=wrong)  # type: ignore[arg-type]


def test_what_has_no_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a LensRun, a Comparison or a TrainingHistory, got str"):
        to_html([drawn_run(depth=1), "a.lens"], tmp_path / "a.html")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="there is nothing to write a page of"):
        to_html([], tmp_path / "a.html")
    with pytest.raises(ValueError, match="this run has no pictures yet: a dog"):
        to_html([drawn_run(depth=1), drawn_run("a dog", images={})], tmp_path / "a.html")
    empty = LensRun("a dog", (), (0,), 1, 0, {})
    with pytest.raises(ValueError, match="this comparison has no pictures yet: a dog"):
        Comparison(empty, empty).to_html(tmp_path / "a.html")
    with pytest.raises(ValueError, match="this training has no images yet"):
        training.new(tmp_path).to_html(tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_a_damaged_run_of_a_training_is_named_on_the_page(tmp_path: Path) -> None:
    history = training.finished((0, 50), folder=tmp_path)
    (history.folder / "epochs" / "000050" / "prompt_01.lens").write_bytes(b"broken")
    (view,) = TrainingHistory.load(history.folder).page_views()
    assert "prompt_01.lens" in view.state["notice"]
    assert len(view.stills) == 2


def test_a_page_does_not_speak_of_jobs() -> None:
    (view,) = drawn_run(depth=2, status="running").page_views()
    assert view.state["notice"] == "This is what was painted so far."
    assert isinstance(view, PageView)


def test_pages_need_neither_torch_nor_ipywidgets(tmp_path: Path, history: TrainingHistory) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'ipywidgets', 'anywidget'): sys.modules[name] = None\n"
        "from difflens_widgets import TrainingHistory, to_html\n"
        "from drawn_runs import attention_run\n"
        "from drawn_comparisons import drawn_comparison\n"
        "to_html([attention_run(), drawn_comparison(), TrainingHistory.load(sys.argv[1])], sys.argv[2])\n"
    )
    command = [sys.executable, "-c", program, str(history.folder), str(tmp_path / "a.html")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(data_of(tmp_path / "a.html")["views"]) == 4
