"""EpochScrubber where people use it: in JupyterLab, in a browser, with a kernel at the other end."""

from __future__ import annotations

import json
import re
import time

import nbformat
from PIL import Image
from playwright.sync_api import Locator, expect

from browser.lab import settled

IMPORT = "import training; from difflens_widgets import EpochScrubber"
SHOWN = "w = EpochScrubber(training.finished(range(0, 201, 50), config={})); w"  # 5 epochs
REAL = """
import tempfile
from difflens_widgets import DreamBoothConfig, start_dreambooth
config = DreamBoothConfig(
    instance_data_dir="difflens-dog", instance_prompt="a photo of xon dog", class_prompt="a photo of a dog",
    output_dir=tempfile.mkdtemp() + "/dog", num_train_epochs=4000, train_batch_size=4, diffusion_lens_epochs=2,
    keep_epoch_weights=False, diffusion_lens_layers=(0, 12), num_inference_steps=2, learning_rate=0.05, device="cpu")
job = start_dreambooth(config)
w = EpochScrubber(job)
w
"""


class Scrubber:
    """An EpochScrubber on a page."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.matrix = root.get_by_role("grid", name="Epochs and layers")
        self.facts = root.locator(".dlw-facts")
        self.progress = root.locator(".dlw-progress")
        self.notice = root.locator(".dlw-notice")
        self.stop = root.get_by_role("button", name="Stop")
        self.generated = self.matrix.locator(".dlw-cell.dlw-is-done")
        self.current = self.matrix.locator("[role=gridcell][tabindex='0']")
        self.coloured = self.matrix.locator(".dlw-coloured")
        self.legend = root.locator(".dlw-legend")
        self.scale = self.legend.locator(".dlw-scale-line:visible")
        self.alarms = root.get_by_role("list", name="Alarms").get_by_role("listitem")
        self.flags = root.locator("[role=columnheader].dlw-flagged")
        self.prompt = root.get_by_label("Prompt")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.current.press(key)

    def pixels(self) -> str:
        """What the big canvas holds; empty where there is no image."""
        return settled(self.root.locator(".dlw-picture"))

    def cursor(self) -> float:
        """Where the line on the loss curve is, on the page."""
        return self.root.locator(".dlw-cursor").bounding_box()["x"]

    def middle(self) -> float:
        """The middle of the current cell, on the page."""
        box = self.current.bounding_box()
        return box["x"] + box["width"] / 2

    def colours(self) -> list[str]:
        """The colour of each cell of the last layer's row."""
        row = self.matrix.locator(".dlw-row").last.locator(".dlw-box")
        return row.evaluate_all("boxes => boxes.map(box => getComputedStyle(box).backgroundColor)")


def open_scrubber(open_notebook, cell=SHOWN, *more, kernel="python3"):
    notebook = open_notebook([IMPORT, cell, *more], kernel=kernel)
    for index in range(3):
        notebook.run_cell(index)
    return notebook, Scrubber(notebook.panel.locator(".dlw-root").first)


def test_keys_go_through_epochs_and_layers(open_notebook, kernel):
    notebook, scrubber = open_scrubber(open_notebook, SHOWN, "w.epoch, w.layer, w.validation_prompt", kernel=kernel)
    expect(scrubber.generated).to_have_count(5 * 13)
    expect(scrubber.facts).to_contain_text("epoch 200 of 200 · layer 12 of 12 · loss 0.")
    seen = [scrubber.pixels()]
    for key, where in {
        "ArrowLeft": "epoch 150 of 200 · layer 12",
        "ArrowUp": "epoch 150 of 200 · layer 11",
        "Home": "epoch 0 of 200 · layer 11",
        "ArrowRight": "epoch 50 of 200 · layer 11",
        "End": "epoch 200 of 200 · layer 11",
        "2": "epoch 200 of 200 · layer 11",
    }.items():
        scrubber.press(key)
        expect(scrubber.facts).to_contain_text(where)
        expect(scrubber.current).to_be_focused()
        seen.append(scrubber.pixels())
        assert abs(scrubber.cursor() - scrubber.middle()) < 2, key  # one axis for the curve and the columns
    assert len(set(seen)) == len(seen)
    assert all(seen)
    expect(scrubber.prompt).to_have_value("1")
    assert notebook.text_of(3) == "(200, 11, 1)"

    scrubber.press("Space")
    expect(scrubber.button("Pause")).to_be_visible()
    expect(scrubber.facts).to_contain_text("epoch 50 of 200")  # from the last on round to the first
    scrubber.press("Space")
    scrubber.matrix.get_by_role("gridcell", name=re.compile("epoch 100, layer 3:")).click()
    expect(scrubber.facts).to_contain_text("epoch 100 of 200 · layer 3 of 12")
    scrubber.prompt.select_option("2")
    expect(scrubber.root.locator(".dlw-chips")).to_contain_text("circle")
    assert notebook.errors == []


def test_colours_legend_and_alarms(open_notebook):
    cell = f"{SHOWN.removesuffix('; w')}; h = w._history; w"
    asked = "[[f'{v:.2g}' for v in h.training_drift(p)['ssim_distance'][:, 12]] for p in range(3)]"
    notebook, scrubber = open_scrubber(open_notebook, cell, asked)
    expect(scrubber.generated).to_have_count(5 * 13)
    expect(scrubber.coloured).to_have_count(0)
    expect(scrubber.legend).to_be_hidden()
    scrubber.button("1 − SSIM").click()
    expect(scrubber.coloured).to_have_count(5 * 13)
    drift = json.loads(notebook.text_of(3).replace("'", '"'))
    most = max(float(value) for row in drift for value in row)
    expect(scrubber.scale).to_have_count(1)
    assert [float(end) for end in scrubber.scale.inner_text().split()] == [0, float(f"{most:.2g}")]
    expect(scrubber.legend).to_contain_text("one scale for all prompts")
    expect(scrubber.legend).to_contain_text(f"here: {float(drift[0][-1]):.2g}")
    colours = scrubber.colours()
    assert colours[0] == "rgb(42, 9, 11)"  # nothing has changed at epoch 0: the dark end
    assert len(set(colours)) == 5
    scrubber.press("3")
    expect(scrubber.legend).to_contain_text("here: 0.0")
    assert scrubber.colours()[-1] != colours[-1]
    scrubber.button("off").click()
    expect(scrubber.coloured).to_have_count(0)

    expect(scrubber.flags).to_have_text(["200"])
    expect(scrubber.alarms).to_have_count(1)
    expect(scrubber.alarms).to_contain_text("“a photo of a dog” becomes “a photo of xon dog”")
    scrubber.press("Home")
    scrubber.alarms.get_by_role("button").click()
    expect(scrubber.facts).to_contain_text("epoch 200 of 200 · layer 11 of 12")
    expect(scrubber.prompt).to_have_value("1")
    expect(scrubber.current).to_have_class(re.compile("dlw-flagged"))


def test_live_during_a_real_training(open_notebook) -> None:
    """Two pictures of two prompts each second epoch, of 4,000: nobody waits for the end of it."""
    after = "job.result(60).status, job.done(), w.status, (job.history.folder / 'checkpoints').is_dir()"
    notebook, scrubber = open_scrubber(open_notebook, REAL, after)
    expect(scrubber.generated.first).to_be_visible(timeout=60_000)
    scrubber.press("Home")
    expect(scrubber.facts).to_contain_text("epoch 0 of 4000 · layer 12 of 12")
    first = scrubber.pixels()
    assert first
    expect(scrubber.matrix.locator("polyline")).to_have_attribute("points", re.compile(r"\d+,\d+"), timeout=60_000)
    expect(scrubber.generated.nth(5)).to_be_visible(timeout=60_000)  # three epochs of two layers
    scrubber.press("ArrowRight", "ArrowRight")
    expect(scrubber.facts).to_contain_text("epoch 4 of 4000")
    assert scrubber.pixels() not in ("", first)  # it learns, and what it has learnt is on the page
    scrubber.stop.click()
    expect(scrubber.progress).to_contain_text("stopped", timeout=60_000)
    notebook.run_cell(3)
    assert notebook.text_of(3) == "('stopped', True, 'stopped', True)"  # with something to go on from
    assert notebook.errors == []


def test_stop(open_notebook, kernel):
    cell = "job = training.Training(training.new(), hold_at=100).start(); w = EpochScrubber(job); w"
    notebook, scrubber = open_scrubber(open_notebook, cell, "job.done(), w.status", kernel=kernel)
    expect(scrubber.generated).to_have_count(2 * 13)
    expect(scrubber.matrix.locator(".dlw-is-running")).to_have_count(13)
    expect(scrubber.matrix.locator(".dlw-is-hollow")).to_have_count(5 * 13)
    scrubber.stop.click()
    expect(scrubber.progress).to_have_text("stopped · 2 of 8 epochs validated")
    expect(scrubber.notice).to_have_text("stopped by hand")
    expect(scrubber.stop).to_be_hidden()
    assert notebook.text_of(3) == "(True, 'stopped')"
    scrubber.press("Home")  # what there is stays usable
    expect(scrubber.facts).to_contain_text("epoch 0 of 350")
    assert scrubber.pixels()
    scrubber.press("End")
    expect(scrubber.root.locator(".dlw-hole")).to_have_text("epoch 350, layer 12: not generated")


def test_a_training_that_fails_and_a_hostile_prompt(open_notebook):
    cell = """
prompt = "<img src=x onerror=alert(1)>"
history = training.new(config={}, prompts=[training.ValidationPrompt(prompt, "class")])
def generate(epoch, prompt_index):
    run = training.generate(epoch, prompt_index); run.prompt = prompt; return run
EpochScrubber(training.Training(history, (0, 1, 2), generate, fail_at=2).start())"""
    notebook, scrubber = open_scrubber(open_notebook, cell)
    expect(scrubber.notice).to_contain_text("The training failed; the images that are there stay.")
    expect(scrubber.notice).to_contain_text("the loss of step 8 is not finite")
    expect(scrubber.generated).to_have_count(2 * 13)
    expect(scrubber.prompt).to_contain_text("class: <img src=x onerror=alert(1)>")
    expect(notebook.page.locator("img[src=x]")).to_have_count(0)


def test_files_to_save(open_notebook, tmp_path):
    notebook, scrubber = open_scrubber(open_notebook)
    expect(scrubber.generated).to_have_count(5 * 13)
    expect(scrubber.button("HTML")).to_be_visible()
    for name, file, size, frames in (
        ("PNG", "training-epoch-200-layer-12-a-photo-of-xon-dog.png", (64, 64), 1),
        ("Matrix", "training-a-photo-of-xon-dog.png", (76 + 5 * 102, 72 + 13 * 102), 1),
        ("GIF", "training-layer-12-a-photo-of-xon-dog.gif", (128, 128), 5),
    ):
        with notebook.page.expect_download() as download:
            scrubber.button(name).click()
        assert download.value.suggested_filename == file
        download.value.save_as(tmp_path / file)
        with Image.open(tmp_path / file) as saved:
            assert (saved.size, getattr(saved, "n_frames", 1)) == (size, frames)


def test_a_linked_layer_slider_goes_along(open_notebook):
    cell = (
        "import ipywidgets; s = LayerSlider(scripted.finished_run()); ipywidgets.jslink((w, 'layer'), (s, 'layer')); s"
    )
    notebook, scrubber = open_scrubber(open_notebook, SHOWN, cell)
    notebook.run_cell(3)
    slider = notebook.widget(1)
    expect(slider.facts).to_contain_text("layer 12 of 12")
    scrubber.press("ArrowUp", "ArrowUp")
    expect(slider.facts).to_contain_text("layer 10 of 12")
    slider.press("ArrowLeft")
    expect(scrubber.facts).to_contain_text("epoch 200 of 200 · layer 9 of 12")


def test_a_saved_notebook_works_without_its_kernel(open_notebook, server):
    server.setting("jupyterlab-manager/plugin", scope="@jupyter-widgets", saveState=True)
    notebook, scrubber = open_scrubber(open_notebook)
    expect(scrubber.generated).to_have_count(5 * 13)
    scrubber.button("states").click()
    last = scrubber.pixels()
    scrubber.press("Home")
    notebook.save()
    notebook.page.close()
    server.end_kernels()
    restored = open_notebook(name=notebook.name)
    scrubber = Scrubber(restored.panel.locator(".dlw-root").first)
    expect(scrubber.generated).to_have_count(5 * 13, timeout=30_000)
    expect(scrubber.coloured).to_have_count(5 * 13)
    expect(scrubber.alarms).to_have_count(1)
    expect(scrubber.facts).to_contain_text("epoch 0 of 200")
    scrubber.press("End")
    expect(scrubber.facts).to_contain_text("epoch 200 of 200")
    assert scrubber.pixels() == last
    expect(scrubber.button("GIF")).to_be_disabled(timeout=15_000)
    expect(scrubber.button("Matrix")).to_be_enabled()


def test_a_stranger_sees_the_still_picture(open_notebook, server):
    notebook, scrubber = open_scrubber(open_notebook)
    expect(scrubber.generated).to_have_count(5 * 13)
    deadline = time.monotonic() + 15
    path = server.notebooks / notebook.name
    while not any(
        "image/png" in output.get("data", {}) for cell in nbformat.read(path, 4).cells for output in cell.outputs
    ):
        assert time.monotonic() < deadline
        notebook.save()
    stranger = path.with_name("stranger-" + path.name)
    stranger.write_text(path.read_text("utf-8").replace("import sys", "import sys ", 1), "utf-8")  # no longer signed
    other = open_notebook(name=stranger.name)
    expect(other.output(2).locator("img")).to_be_visible(timeout=30_000)
    expect(other.panel.locator(".dlw-root")).to_have_count(0)


def test_nothing_yet(open_notebook):
    _, scrubber = open_scrubber(open_notebook, "EpochScrubber()")
    expect(scrubber.root.locator(".dlw-hole")).to_contain_text("widget.show(start_dreambooth(config))")
    expect(scrubber.matrix).to_be_hidden()
