"""DiffViewer where people use it: in JupyterLab, on two real models of which one was moved a little."""

from __future__ import annotations

import base64
import io
import re
from functools import cache

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from browser import lab
from browser.test_layer_slider import wait_for_still
from difflens_widgets import Comparison, DiffusionLens, SceneJudge, compare
from difflens_widgets.runs.render.heat_colors import coloured
from tuned_models import perturbed

PROMPT = "a red circle on a blue background"
RED = 2  # the word's position


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A comparison with everything that there is to see, of the embedded model and itself with moved weights."""
    raw, tuned = DiffusionLens.from_pretrained(), DiffusionLens.from_pretrained()
    perturbed(tuned.pipe, encoder=0.15, unet=0.06)
    options = {"attribution": True, "judge": SceneJudge(), "attention": True, "num_inference_steps": 3, "seed": 3}
    return compare(raw, tuned, PROMPT, **options).save(tmp_path_factory.mktemp("comparison") / "dog.lenses")


@pytest.fixture(scope="module")
def comparison(file):
    return Comparison.load(file)


@cache
def opening(path) -> str:
    return f"from difflens_widgets import Comparison, DiffViewer\nw = DiffViewer(Comparison.load({str(path)!r})); w"


@pytest.fixture(scope="module")
def notebook(browser, server, file):
    """One notebook with that comparison, for all tests that only look at it."""
    cells = [
        opening(file),
        "w.layer, w.mode, w.metric, w.token = 12, 'side', 'state_cosine', None",
        "w.layer, w.mode, w.metric, w.token",
    ]
    server.write("shared.ipynb", [lab.SETUP, *cells])
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    opened = lab.Notebook(context.new_page(), server, "shared.ipynb")
    opened.wait_for_kernel()
    opened.run_cell(0)
    opened.run_cell(1)
    yield opened
    context.close()


@pytest.fixture
def viewer(notebook):
    """The viewer in that notebook, as it opens; nothing may go wrong."""
    notebook.run_cell(2)
    shown = Viewer(notebook.panel.locator(".dlw-root").first)
    expect(shown.done_marks).to_have_count(13)
    expect(shown.panes.locator(".dlw-pane-name")).to_have_text(["raw", "tuned"])
    shown.wait_for_layer(12)
    shown.spark.scroll_into_view_if_needed()
    yield shown
    assert notebook.errors == []


class Viewer(lab.Slider):
    """A DiffViewer on a page."""

    def __init__(self, root: Locator) -> None:
        super().__init__(root)
        self.curtain = root.get_by_role("slider", name="Curtain")
        self.metric = root.get_by_role("combobox", name="Metric")
        self.values = root.locator(".dlw-spark-values")
        self.axis = root.locator(".dlw-spark-axis")
        self.spark = root.locator(".dlw-spark")
        self.legend = root.locator(".dlw-diff-legend")
        self.value = root.locator(".dlw-value")
        self.panes = root.locator(".dlw-pane:visible:not(.dlw-away)")

    def pane(self, run: str) -> Locator:
        return self.root.locator(f".dlw-pane[data-run='{run}']")

    def seen(self, run: str = "tuned", what: str = ".dlw-picture") -> Image.Image:
        """What a canvas of a run holds."""
        data = self.pane(run).locator(what).evaluate("canvas => canvas.toDataURL().split(',')[1]")
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def wait_until_seen(self, run: str, image: Image.Image) -> None:
        """Until that picture is painted, every pixel of it: while one drags, the kernel's echo may come between."""
        for _ in range(50):
            if self.seen(run).tobytes() == image.convert("RGB").tobytes():
                return
            self.root.page.wait_for_timeout(100)
        raise AssertionError(f"{run} does not show that picture")

    def wait_for_layer(self, layer: int) -> None:
        expect(self.facts).to_contain_text(f"layer {layer} of 12")

    def saved(self, path) -> Image.Image:
        with self.root.page.expect_download() as download:
            self.button("PNG").click()
        download.value.save_as(path / "a.png")
        return Image.open(path / "a.png").convert("RGB")


def test_every_layer_is_painted_as_it_is(viewer, notebook, comparison) -> None:
    expect(viewer.panes).to_have_count(2)
    expect(viewer.facts).to_have_text("layer 12 of 12 · step 3/3 · seed 3 · guidance 4 · difflens-tiny → difflens-tiny")
    box = viewer.spark.bounding_box()
    for layer in (4, 0, 9):  # the curve picks it
        viewer.spark.click(position={"x": (layer + 0.5) / 13 * box["width"], "y": 20})
        viewer.wait_for_layer(layer)
        for run in ("raw", "tuned"):
            viewer.wait_until_seen(run, comparison.runs[run].images[layer])
    assert viewer.seen("raw").tobytes() != viewer.seen("tuned").tobytes()
    viewer.root.page.keyboard.press("ArrowLeft")  # which also gave the keys to the slider
    viewer.wait_for_layer(8)
    viewer.wait_until_seen("tuned", comparison.tuned.images[8])
    page = viewer.root.page
    page.mouse.move(box["x"] + 0.5 / 13 * box["width"], box["y"] + 10)
    page.mouse.down()
    for layer in (1, 2, 3):  # or a drag over it
        page.mouse.move(box["x"] + (layer + 0.5) / 13 * box["width"], box["y"] + 10)
    page.mouse.up()
    viewer.wait_for_layer(3)
    viewer.wait_until_seen("tuned", comparison.tuned.images[3])
    viewer.press("End")
    viewer.wait_for_layer(12)
    viewer.root.locator(".dlw-strip .dlw-cell").nth(6).click()
    viewer.wait_for_layer(6)
    page.wait_for_timeout(300)
    assert notebook.text_of(3) == "(6, 'side', 'state_cosine', None)"


def test_metrics_are_shown_with_their_numbers(viewer, comparison) -> None:
    viewer.press("Home")
    viewer.wait_for_layer(0)
    for chart in comparison.charts:
        viewer.metric.select_option(chart.label)
        expect(viewer.axis).to_contain_text(chart.unit)
        series = [comparison.metrics[name] for _, name in chart.series]
        itself = [] if chart.itself is None else [chart.itself]
        texts = viewer.values.locator("b").all_inner_texts()
        expected = [*itself, *(values[0] for values in series)]
        assert [float(text.replace("−", "-")) for text in texts] == pytest.approx(expected, rel=1e-3)
        low, high = (
            float(text.replace("−", "-")) for text in re.findall(r"axis (\S+) to (\S+)", viewer.axis.inner_text())[0]
        )
        known = np.concatenate([*series, itself])
        assert (low, high) == pytest.approx((known.min(), known.max()), rel=1e-3)
        points = viewer.spark.locator("circle:not(.dlw-line-raw)").count()
        assert points == 13 * len([label for label, _ in chart.series if label != "raw"])
        # the curve is as high as its numbers say
        if chart.name == "latent_rms":
            places = viewer.spark.locator("circle.dlw-line-tuned").evaluate_all(
                "all => all.map((each) => parseFloat(each.getAttribute('cy')))"
            )
            assert np.corrcoef(places, series[0])[0, 1] == pytest.approx(-1)


def test_the_curtain_is_drawn_with_pointer_and_keys(viewer, comparison, tmp_path) -> None:
    viewer.button("curtain").click()
    expect(viewer.curtain).to_have_value("50")
    clip = "canvas => getComputedStyle(canvas).clipPath"
    canvas = viewer.pane("tuned").locator(".dlw-picture")
    assert canvas.evaluate(clip) == "inset(0px 0px 0px 50%)"
    boxes = [viewer.pane(run).locator(".dlw-picture").bounding_box() for run in ("raw", "tuned")]
    assert boxes[0] == boxes[1]
    expect(viewer.curtain).to_have_attribute("data-lm-suppress-shortcuts", "true")
    for _ in range(3):
        viewer.curtain.press("ArrowLeft")
    expect(viewer.curtain).to_have_value("47")
    viewer.wait_for_layer(12)  # the arrows are the curtain's now
    box = viewer.curtain.bounding_box()
    page = viewer.root.page
    page.mouse.move(box["x"] + 0.47 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 90, steps=4)
    page.mouse.up()
    expect(viewer.curtain).to_have_value("25")
    assert canvas.evaluate(clip) == "inset(0px 0px 0px 25%)"
    both = np.asarray(viewer.saved(tmp_path))
    raw, tuned = (np.asarray(run.images[12].convert("RGB")) for run in (comparison.raw, comparison.tuned))
    cut = raw.shape[1] // 4
    assert (both[:, :cut] == raw[:, :cut]).all()
    assert (both[:, cut:] == tuned[:, cut:]).all()
    viewer.button("side by side").click()
    expect(viewer.curtain).to_be_hidden()
    assert canvas.evaluate(clip) == "none"
    beside = np.asarray(viewer.saved(tmp_path))
    np.testing.assert_array_equal(beside, np.concatenate([raw, tuned], axis=1))


def test_blink_goes_to_and_fro_unless_motion_is_reduced(viewer) -> None:
    names = viewer.panes.locator(".dlw-pane-name")
    viewer.button("blink").click()
    for run in ("tuned", "raw", "tuned"):
        expect(names).to_have_text([run])
    viewer.root.page.emulate_media(reduced_motion="reduce")
    expect(viewer.notice).to_contain_text("Motion is reduced")
    expect(names).to_have_text(["tuned"])
    viewer.root.page.wait_for_timeout(2_000)
    expect(names).to_have_text(["tuned"])
    viewer.pane("tuned").locator(".dlw-frame").click()
    expect(names).to_have_text(["raw"])
    viewer.press("Enter")
    expect(names).to_have_text(["tuned"])
    viewer.root.page.emulate_media(reduced_motion="no-preference")
    expect(names).to_have_text(["raw"])
    viewer.button("side by side").click()
    expect(names).to_have_text(["raw", "tuned"])


def test_the_difference_is_on_one_written_scale(viewer, comparison, tmp_path) -> None:
    maps = {layer: comparison.difference(layer) for layer in comparison.layers}
    most = max(float(of_layer.max()) for of_layer in maps.values())
    viewer.button("difference").click()
    expect(viewer.panes).to_have_count(1)
    expect(viewer.legend.locator(".dlw-low")).to_have_text("0")
    for layer in (12, 2):
        if layer == 2:
            viewer.root.locator(".dlw-strip .dlw-cell").nth(2).click()
            viewer.wait_for_layer(2)
        expect(viewer.legend.locator(".dlw-high")).to_have_text(f"{most:.0f}")
        seen = np.asarray(viewer.seen("tuned", ".dlw-heat"), dtype=int)
        wanted = coloured(np.rint(maps[layer] / most * 255) / 255).astype(int)
        assert np.abs(seen - wanted).max() <= 2
    expect(viewer.legend.locator(".dlw-range-note")).to_have_text("one range for all layers")
    (y, x), (height, width) = np.unravel_index(maps[2].argmax(), maps[2].shape), maps[2].shape
    frame = viewer.pane("tuned").locator(".dlw-frame")
    box = frame.bounding_box()
    frame.hover(position={"x": (x + 0.5) / width * box["width"], "y": (y + 0.5) / height * box["height"]})
    expect(viewer.value).to_have_text(re.compile(r"^here: [\d.]+$"))
    assert float(viewer.value.inner_text().split()[1]) == pytest.approx(maps[2].max(), rel=0.05)
    assert viewer.saved(tmp_path).size == (512, 512)


def test_attention_of_a_word_moves_to_both_sides_of_zero(viewer, comparison) -> None:
    words = ("a", "red", "circle", "on", "blue", "background")
    places = [next(token.index for token in comparison.raw.tokens if token.text == word) for word in words]
    maps = {k: [comparison.attention_difference(place, layer=k) for place in places] for k in comparison.layers}
    most = max(np.abs(of_word).max() for of_layer in maps.values() for of_word in of_layer)
    heat = viewer.pane("tuned").locator(".dlw-heat")
    expect(viewer.legend).to_be_hidden()
    viewer.root.locator(".dlw-chip").get_by_text("red", exact=True).click()
    expect(heat).to_be_visible()
    expect(viewer.legend.locator(".dlw-unit")).to_contain_text("attention to “red”, tuned minus raw")
    numbers = [viewer.legend.locator(f".dlw-{end}").inner_text() for end in ("low", "high")]
    assert numbers[0].startswith("−")
    assert numbers[1].startswith("+")
    assert [float(text[1:].split()[0]) for text in numbers] == pytest.approx([most, most], rel=0.05)
    of_red = comparison.attention_difference(RED)
    seen = np.asarray(viewer.seen("tuned", ".dlw-heat"), dtype=int)
    warmth = seen[..., 0] - seen[..., 2]
    strong = np.abs(of_red) > 0.1 * most
    assert strong.any()
    at_zero = warmth.flat[np.abs(of_red).argmin()]
    np.testing.assert_array_equal((warmth > at_zero)[strong], (of_red > 0)[strong])
    y, x = np.unravel_index(np.abs(of_red).argmax(), of_red.shape)
    box = heat.bounding_box()
    viewer.pane("tuned").locator(".dlw-frame").hover(
        position={"x": (x + 0.5) / 16 * box["width"], "y": (y + 0.5) / 16 * box["height"]}
    )
    expect(viewer.value).to_have_text(re.compile(r"^here: [+−][\d.e-]+$"))
    value = float(viewer.value.inner_text().split()[1].replace("−", "-"))
    assert value == pytest.approx(float(of_red[y, x]), abs=float(most) / 127, rel=0.05)
    viewer.press("3")
    expect(viewer.legend.locator(".dlw-unit")).to_contain_text("“circle”")
    viewer.button("difference").click()  # of the attention, as long as a word is chosen
    expect(viewer.legend.locator(".dlw-unit")).to_contain_text("“circle”")
    viewer.press("Escape")
    expect(viewer.legend.locator(".dlw-unit")).to_contain_text("difference of each pixel")


def test_the_grid_swaps_encoders_and_u_nets(viewer, comparison, tmp_path) -> None:
    viewer.button("2 × 2").click()
    expect(viewer.panes.locator(".dlw-pane-name")).to_have_text(
        [f"encoder {encoder} × U-Net {unet}" for encoder in ("raw", "tuned") for unet in ("raw", "tuned")]
    )
    for run, of_run in comparison.runs.items():
        viewer.wait_until_seen(run, of_run.images[12])
    size = [viewer.pane(run).bounding_box() for run in ("raw", "raw-tuned", "tuned-raw", "tuned")]
    assert size[0]["y"] == size[1]["y"] < size[2]["y"] == size[3]["y"]  # encoders down, U-Nets across
    assert size[0]["x"] == size[2]["x"] < size[1]["x"]
    width, height = comparison.raw.images[12].size
    assert viewer.saved(tmp_path).size == (2 * width, 2 * height)


def test_linked_with_a_slider_and_set_by_the_kernel(open_notebook, file) -> None:
    cells = [
        f"{opening(file)}\nimport ipywidgets\nslider = LayerSlider(w._shown.raw)\n"
        'link = ipywidgets.jslink((slider, "layer"), (w, "layer"))\ndisplay(slider, w)',
        "w.layer, w.mode = 1, 'swap_grid'",
    ]
    notebook = open_notebook([cells[0].replace("; w\n", "\n"), cells[1]])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider, viewer = notebook.widget(0), Viewer(notebook.panel.locator(".dlw-root").nth(1))
    slider.press("ArrowLeft")
    viewer.wait_for_layer(11)
    viewer.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    notebook.run_cell(2)
    viewer.wait_for_layer(1)
    expect(viewer.panes).to_have_count(4)
    expect(slider.facts).to_contain_text("layer 1 of 12")
    viewer.press("Space")  # play
    viewer.wait_for_layer(3)
    assert notebook.errors == []


def test_holes_failures_and_hostile_prompts(open_notebook) -> None:
    program = """from difflens_widgets import Comparison, DiffViewer
hostile = "<img src=x onerror=window.hacked=1> <b>dog</b>"
raw, tuned = (scripted.finished_run(hostile) for _ in range(2))
for layer in (12, 7):
    del tuned.images[layer]
tuned.failures[12] = "<b>its latents</b> are not finite"
tuned.settings["model"] = "<i>tuned</i>"
tuned.status = "stopped"
display(DiffViewer(Comparison(raw, tuned)), DiffViewer())"""
    notebook = open_notebook([program])
    notebook.run_cell(0)
    notebook.run_cell(1)
    viewer, empty = (Viewer(notebook.panel.locator(".dlw-root").nth(index)) for index in range(2))
    expect(viewer.pane("tuned").locator(".dlw-hole")).to_contain_text("failed.\n<b>its latents</b> are not finite")
    expect(viewer.pane("raw").locator(".dlw-hole")).to_be_hidden()
    expect(viewer.notice).to_contain_text("A run was stopped; what is painted is compared.")
    expect(viewer.progress).to_have_text("stopped · 11 of 13 layers")
    expect(viewer.button("2 × 2")).to_be_hidden()
    viewer.metric.select_option("SSIM")
    expect(viewer.values).to_contain_text("tuned –")
    viewer.root.locator(".dlw-strip .dlw-cell").nth(7).click()
    expect(viewer.pane("tuned").locator(".dlw-hole")).to_have_text("layer 7 of tuned: not computed")
    viewer.button("difference").click()
    expect(viewer.legend).to_be_hidden()
    viewer.press("ArrowLeft")
    expect(viewer.legend).to_be_visible()
    expect(empty.panes.locator(".dlw-hole")).to_contain_text("widget.show(compare(raw, tuned,")
    expect(empty.button("blink")).to_be_disabled()
    expect(empty.spark).to_be_hidden()
    assert notebook.panel.locator(".dlw-root :is(img, i:not([class]), b:not(.dlw-key b))").count() == 0
    assert notebook.page.evaluate("window.hacked") is None
    assert notebook.errors == []


REAL = """
import tempfile
from difflens_widgets import DiffViewer, DreamBoothConfig, start_dreambooth
config = DreamBoothConfig(
    instance_data_dir="difflens-dog", instance_prompt="a photo of xon dog", num_train_epochs=4000,
    output_dir=tempfile.mkdtemp() + "/dog",
    train_batch_size=4, diffusion_lens_epochs=2, keep_epoch_weights=False, diffusion_lens_layers=(0, 12),
    num_inference_steps=2, learning_rate=0.05, device="cpu")
job = start_dreambooth(config)
w = DiffViewer(job)
w
"""


def test_live_during_a_real_training(open_notebook) -> None:
    """What the training has changed so far, on a page that nobody touches."""
    notebook = open_notebook([REAL, "job.cancel(); job.result(60).status"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    viewer = Viewer(notebook.panel.locator(".dlw-root"))
    expect(viewer.done_marks).to_have_count(2, timeout=60_000)
    expect(viewer.facts).to_contain_text(re.compile(r"tiny, epoch 0 → .*tiny, epoch \d+"))
    first, raw = viewer.facts.text_content(), viewer.seen("raw")
    expect(viewer.facts).not_to_have_text(first, timeout=60_000)  # the next epoch's
    viewer.button("difference").click()
    expect(viewer.panes).to_have_count(1)
    second = viewer.facts.text_content()
    expect(viewer.facts).not_to_have_text(second, timeout=60_000)
    expect(viewer.panes).to_have_count(1)  # what the user chose stays
    notebook.run_cell(2)
    assert notebook.text_of(2) == "'stopped'"
    viewer.button("side by side").click()
    expect(viewer.panes).to_have_count(2)
    assert viewer.seen("raw").tobytes() == raw.tobytes()
    assert viewer.seen("tuned").tobytes() != raw.tobytes()
    assert notebook.errors == []


def test_restored_without_its_kernel(open_notebook, server, file, comparison) -> None:
    manager = {"scope": "@jupyter-widgets", "plugin": "jupyterlab-manager/plugin"}
    server.setting(**manager, saveState=True)
    try:
        notebook = open_notebook([opening(file)])
        notebook.run_cell(0)
        notebook.run_cell(1)
        viewer = Viewer(notebook.panel.locator(".dlw-root"))
        expect(viewer.done_marks).to_have_count(13)
        assert len(wait_for_still(notebook, server)["image/png"]) > 10_000  # for those who do not trust it
        viewer.button("curtain").click()
        viewer.press("ArrowLeft")
        notebook.page.wait_for_timeout(500)
        notebook.save()
        notebook.page.close()
        server.end_kernels()

        viewer = Viewer(open_notebook(name=notebook.name).panel.locator(".dlw-root"))
        expect(viewer.done_marks).to_have_count(13)
        viewer.wait_for_layer(11)
        expect(viewer.curtain).to_be_visible()
        viewer.press("Home")
        viewer.wait_for_layer(0)
        viewer.wait_until_seen("tuned", comparison.tuned.images[0])
        for mode, panes in (("2 × 2", 4), ("difference", 1), ("side by side", 2)):
            viewer.button(mode).click()
            expect(viewer.panes).to_have_count(panes)
        viewer.press("2")
        expect(viewer.pane("tuned").locator(".dlw-heat")).to_be_visible()
    finally:
        server.setting(**manager, saveState=False)
