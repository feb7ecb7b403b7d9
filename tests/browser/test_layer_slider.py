"""LayerSlider where people use it: in JupyterLab, in a browser, with a kernel at the other end."""

from __future__ import annotations

import json
import textwrap
import time

import nbformat
import pytest
from PIL import Image
from playwright.sync_api import expect

from browser.lab import Slider
from browser.scripted import finished_run
from difflens_widgets.runs.tokens import PromptPart

PNG = "image/png"


def outputs(server, name):
    notebook = nbformat.read(server.notebooks / name, 4)
    return [output.data for cell in notebook.cells for output in cell.outputs if "data" in output]


def wait_for_still(notebook, server, seconds=15):
    """Save until the file has the picture: it comes a moment after the last layer."""
    deadline = time.monotonic() + seconds
    while True:
        notebook.save()
        found = [data for data in outputs(server, notebook.name) if PNG in data]
        if found:
            return found[0]
        assert time.monotonic() < deadline, "the file never got the still picture"
        notebook.page.wait_for_timeout(500)


def test_a_run_is_alive_in_its_cell(open_notebook, server, kernel):
    notebook = open_notebook(["w = LayerSlider(scripted.job(seconds=8)); w", "w.status, w.layer", "w"], kernel=kernel)
    notebook.run_cell(0)
    notebook.run_cell(1)  # returns while the job runs
    slider = notebook.widget()
    expect(slider.stop).to_be_visible()
    expect(slider.facts).to_contain_text("preview · step")
    seen = set()
    for _ in range(40):
        seen.add(slider.pixels())
        if len(seen) >= 3:
            break
        notebook.page.wait_for_timeout(100)
    assert len(seen) >= 3, "the picture on screen did not change while it was painted"

    slider.range.focus()
    slider.wait_until_done()
    expect(slider.range).to_be_focused()
    assert PNG in wait_for_still(notebook, server)
    expect(slider.range).to_be_focused()  # also after the output was exchanged
    expect(slider.done_marks).to_have_count(13)

    last = slider.pixels()
    slider.press("ArrowLeft")
    expect(slider.facts).to_contain_text("layer 11 of 12 · step 20/20 · seed 0 · guidance 7.5 · difflens-tiny")
    expect(slider.range).to_have_attribute("aria-valuetext", "layer 11 of 12")
    assert slider.pixels() not in ("", last)
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    first = slider.pixels()
    assert first not in ("", last)
    slider.press("End")
    expect(slider.facts).to_contain_text("layer 12 of 12")
    assert slider.pixels() == last

    slider.press("Space")  # from the last on round to the first
    expect(slider.button("Pause")).to_be_visible()
    expect(slider.facts).to_contain_text("layer 1 of 12")
    slider.press("Space")
    expect(slider.button("Play")).to_be_visible()
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    notebook.page.wait_for_timeout(700)
    assert slider.pixels() == first  # it does not play on

    assert notebook.text_of(2) == "('done', 0)"  # the kernel knows the layer
    notebook.run_cell(3)  # a second view, opened late, is complete and goes along
    other = notebook.widget(1)
    expect(other.done_marks).to_have_count(13)
    assert other.pixels() == first
    other.press("End")
    expect(slider.facts).to_contain_text("layer 12 of 12")
    assert slider.pixels() == other.pixels() == last

    notebook.save()
    notebook.reload()
    expect(slider.done_marks).to_have_count(13, timeout=30_000)
    assert slider.pixels() == last
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    assert slider.pixels() == first
    assert notebook.errors == []


def test_stop(open_notebook, kernel):
    notebook = open_notebook(
        ["job = scripted.job(seconds=2, hold_after=4); w = LayerSlider(job); w", "job.done()"], kernel=kernel
    )
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider = notebook.widget()
    expect(slider.done_marks).to_have_count(4)
    slider.stop.click()
    expect(slider.progress).to_have_text("stopped · 4 of 13 layers")
    expect(slider.stop).to_be_hidden()
    assert notebook.text_of(2) == "True"
    slider.press("Home")  # what there is stays usable
    expect(slider.facts).to_contain_text("layer 0 of 12 · step 20/20")
    assert slider.pixels()


def test_frames_arrive_while_the_kernel_is_busy(open_notebook, kernel):
    cell = "import time; w = LayerSlider(scripted.job(seconds=5)); display(w); time.sleep(30)"
    notebook = open_notebook([cell], kernel=kernel)
    notebook.run_cell(0)
    notebook.panel.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    notebook.page.keyboard.press("Control+Enter")
    slider = notebook.widget()
    expect(slider.facts).to_contain_text("preview · step")
    expect(slider.done_marks).to_have_count(13)
    prompt = notebook.panel.locator(".jp-CodeCell").nth(1).locator(".jp-InputArea-prompt")
    expect(prompt).to_have_text("[*]:")


def test_failure_tells_why_and_a_prompt_is_only_text(open_notebook):
    hostile = "<img src=x onerror=window.hacked=1> <b>dog</b>"
    cells = [
        f"w = LayerSlider(scripted.job({hostile!r}, seconds=0.5, fail_after=4)); w",
        f"run = scripted.finished_run(); del run.images[12]; run.failures[12] = {hostile!r}; LayerSlider(run)",
    ]
    notebook = open_notebook(cells)
    for index in range(3):
        notebook.run_cell(index)
    slider, other = notebook.widget(0), notebook.widget(1)
    expect(slider.notice).to_contain_text("RuntimeError: the decoder gave NaN. Try dtype=torch.float32.")
    expect(slider.progress).to_have_text("4 of 13 layers")
    expect(slider.root.locator(".dlw-chips")).to_contain_text("<img")
    expect(slider.root.locator(".dlw-chips")).to_contain_text("<b>dog</b>")
    slider.press("Home")
    assert slider.pixels()
    expect(other.facts).to_contain_text("layer 12 of 12 · failed")
    expect(other.root.locator(".dlw-hole")).to_contain_text(hostile)
    assert notebook.panel.locator(".dlw-root :is(img, b)").count() == 0
    assert notebook.page.evaluate("window.hacked") is None


def test_files_are_saved_while_there_is_a_kernel(open_notebook, tmp_path):
    notebook = open_notebook(["LayerSlider(scripted.finished_run('a pink cat'))"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider = notebook.widget()
    found = {}
    for name in ("PNG", "GIF", "HTML"):
        with notebook.page.expect_download() as download:
            slider.button(name).click()
        found[name] = (download.value.suggested_filename, download.value.path().read_bytes())
    assert found["PNG"][0] == "lens-a-pink-cat-layer-12.png"
    assert found["GIF"][0] == "lens-a-pink-cat.gif"
    (tmp_path / "a.png").write_bytes(found["PNG"][1])
    assert Image.open(tmp_path / "a.png").convert("RGB").tobytes() == finished_run().images[12].tobytes()
    assert found["GIF"][1].startswith(b"GIF89a")
    assert found["HTML"][1].lower().startswith(b"<!doctype html>")

    notebook.restart_kernel()
    expect(slider.button("GIF")).to_be_disabled(timeout=10_000)
    expect(slider.button("GIF")).to_have_attribute("title", "GIF is made by the kernel, and there is none")
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12 · step 20/20")
    assert notebook.errors == []


def test_help_mouse_and_linked_widgets(open_notebook):
    cell = """import ipywidgets
    a, b = LayerSlider(scripted.finished_run()), LayerSlider(scripted.finished_run("a dog"))
    link = ipywidgets.jslink((a, "layer"), (b, "layer"))
    display(a, b)"""
    notebook = open_notebook([textwrap.dedent("    " + cell)])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider, linked = notebook.widget(0), notebook.widget(1)
    slider.press("?")
    dialog = slider.root.get_by_role("dialog")
    expect(dialog).to_contain_text("What am I looking at?")
    notebook.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(slider.range).to_be_focused()
    film = slider.root.locator(".dlw-cell")
    film.nth(3).click()
    expect(slider.facts).to_contain_text("layer 3 of 12")
    film.nth(3).hover()
    notebook.page.mouse.down()
    film.nth(8).hover()
    notebook.page.mouse.up()
    expect(slider.facts).to_contain_text("layer 8 of 12")
    expect(linked.facts).to_contain_text("layer 8 of 12")
    film.nth(2).hover()  # not held any more
    expect(slider.facts).to_contain_text("layer 8 of 12")


def test_a_drag_never_goes_back(open_notebook):
    """The kernel hears of a layer up to 100 ms late; what it says of that must not undo what was dragged since."""
    notebook = open_notebook(["w = LayerSlider(scripted.finished_run()); w", "w.layer"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider, film = notebook.widget(), notebook.panel.locator(".dlw-cell")
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    slider.facts.evaluate("""facts => {
      window.seen = [];
      const look = () => window.seen.push(parseInt(facts.textContent.match(/layer (\\d+) of/)[1]));
      new MutationObserver(look).observe(facts, { childList: true, characterData: true, subtree: true });
    }""")
    boxes = [film.nth(layer).bounding_box() for layer in range(13)]
    mouse = notebook.page.mouse
    for layer, box in enumerate(boxes):
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        if layer == 0:
            mouse.down()
        notebook.page.wait_for_timeout(40)
    mouse.up()
    expect(slider.facts).to_contain_text("layer 12 of 12")
    notebook.page.wait_for_timeout(500)
    seen = notebook.page.evaluate("window.seen")
    assert seen[-1] == 12
    assert seen == sorted(seen)
    assert notebook.text_of(2) == "12"


@pytest.fixture
def saved(open_notebook, server):
    """A notebook whose run was followed to its end, saved, and its kernel gone."""
    notebook = open_notebook(["w = LayerSlider(scripted.job(seconds=1)); w"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.widget().wait_until_done()
    wait_for_still(notebook, server)
    notebook.page.close()
    server.end_kernels()
    return notebook.name


def test_the_saved_notebook_shows_the_picture_to_those_who_do_not_trust_it(open_notebook, server, saved):
    text = (server.notebooks / saved).read_text("utf-8")
    (server.notebooks / "from-a-stranger.ipynb").write_text(text.replace("import sys", "import sys  # ", 1), "utf-8")
    notebook = open_notebook(name="from-a-stranger.ipynb")
    assert not server.trusts("from-a-stranger.ipynb")
    picture = notebook.output(1).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("img => img.decode().then(() => img.naturalWidth)") > 600
    assert notebook.panel.locator(".dlw-root").count() == 0


def test_restored_without_its_kernel(open_notebook, server):
    manager = {"scope": "@jupyter-widgets", "plugin": "jupyterlab-manager/plugin"}
    server.setting(**manager, saveState=True)
    try:
        notebook = open_notebook(["w = LayerSlider(scripted.job(seconds=1, hold_after=8)); w"])
        notebook.run_cell(0)
        notebook.run_cell(1)
        expect(notebook.widget().done_marks).to_have_count(8)
        picture = notebook.widget().pixels()
        notebook.save()  # in the middle of the run
        state = json.loads((server.notebooks / notebook.name).read_text("utf-8"))["metadata"]["widgets"]
        assert "layer/12" in json.dumps(state)
        notebook.page.close()
        server.end_kernels()

        slider = open_notebook(name=notebook.name).widget()
        expect(slider.done_marks).to_have_count(8)
        assert slider.pixels() == picture
        expect(slider.progress).to_have_text("stopped · 8 of 13 layers")
        expect(slider.notice).to_contain_text("kernel")
        expect(slider.stop).to_be_hidden()
        expect(slider.button("GIF")).to_be_disabled()
        expect(slider.button("GIF")).to_have_attribute("title", "GIF is made by the kernel, and there is none")
        expect(slider.button("PNG")).to_be_enabled()
        slider.press("Home")
        expect(slider.facts).to_contain_text("layer 0 of 12 · step 20/20")
        assert slider.pixels() not in ("", picture)
    finally:
        server.setting(**manager, saveState=False)


def test_a_page_of_its_own_needs_no_kernel(browser, tmp_path):
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(finished_run().to_html(tmp_path / "lens.html").as_uri())
    slider = Slider(page.locator(".dlw-root"))
    expect(slider.done_marks).to_have_count(13)
    last = slider.pixels()
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    assert slider.pixels() not in ("", last)
    expect(slider.button("GIF")).to_be_hidden()
    slider.press("Space")
    expect(slider.facts).to_contain_text("layer 1 of 12")
    assert errors == []
    page.close()


@pytest.fixture
def page_of(browser, tmp_path):
    """Opens a run on a page of its own; what goes wrong there fails the test."""
    pages, errors = [], []

    def open_one(run):
        pages.append(browser.new_page())
        pages[-1].on("pageerror", lambda error: errors.append(str(error)))
        pages[-1].goto(run.to_html(tmp_path / "lens.html").as_uri())
        slider = Slider(pages[-1].locator(".dlw-root"))
        expect(slider.root.locator("canvas.dlw-picture")).to_be_visible()
        return slider

    yield open_one
    for page in pages:
        page.close()
    assert errors == []


def test_steps_are_a_second_axis(page_of):
    slider = page_of(finished_run(snapshots=(0, 5, 10)))
    final = slider.pixels()
    expect(slider.facts).to_contain_text("layer 12 of 12 · step 20/20 ·")
    slider.press("ArrowDown")  # from the film: there, up and down are steps
    expect(slider.facts).to_contain_text("layer 12 of 12 · prediction at step 11/20 ·")
    expect(slider.steps).to_have_attribute("aria-valuetext", "prediction at step 11/20")
    predicted = slider.pixels()
    assert predicted not in ("", final)
    slider.steps.press("ArrowLeft")  # and left and right are layers, wherever one is
    expect(slider.facts).to_contain_text("layer 11 of 12 · prediction at step 11/20 ·")
    slider.steps.press("ArrowRight")
    slider.steps.press("Home")
    expect(slider.facts).to_contain_text("layer 12 of 12 · prediction at step 1/20 ·")
    slider.press("ArrowDown")  # there is none below
    expect(slider.facts).to_contain_text("layer 12 of 12 · prediction at step 1/20 ·")

    play = slider.root.get_by_role("combobox", name="Play")
    play.select_option("steps ↑")
    slider.press("Space")
    expect(slider.facts).to_contain_text("step 6/20")
    expect(slider.facts).to_contain_text("step 11/20")
    slider.press("Space")
    slider.steps.press("End")
    expect(slider.facts).to_contain_text("layer 12 of 12 · step 20/20 ·")
    assert slider.pixels() == final
    play.select_option("layers ←")
    slider.press("Space")
    expect(slider.facts).to_contain_text("layer 11 of 12 · step 20/20 ·")
    slider.press("Space")


def test_tokens_and_layers_are_a_grid(page_of):
    slider = page_of(finished_run(snapshots=(5,), words=("pink", "cat", PromptPart.PADDING)))
    grid = slider.root.get_by_role("grid")
    expect(grid.get_by_role("gridcell")).to_have_count(4 * 13)
    expect(grid.get_by_role("rowheader")).to_have_text(["whole prompt", "pink", "cat", "padding only"])
    expect(slider.progress).to_have_text("52 pictures")
    expect(slider.facts).to_contain_text("layer 12 of 12 · whole prompt · step 20/20")
    whole = slider.pixels()
    slider.cell.press("ArrowDown")
    expect(slider.facts).to_contain_text("layer 12 of 12 · only “pink” · step 20/20")
    expect(slider.root.locator(".dlw-chip.dlw-marked")).to_have_text(["pink"])
    expect(slider.cell).to_be_focused()
    expect(slider.steps).to_be_disabled()  # steps are kept of the whole prompt
    pink = slider.pixels()
    assert pink not in ("", whole)
    slider.cell.press("ArrowLeft")
    expect(slider.cell).to_have_attribute("title", "layer 11, only “pink”: painted")
    slider.cell.press("3")
    expect(slider.facts).to_contain_text("layer 11 of 12 · padding only")
    slider.cell.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12 · padding only")
    grid.get_by_role("gridcell").nth(2 * 13 + 7).click()
    expect(slider.facts).to_contain_text("layer 7 of 12 · only “cat”")
    slider.cell.press("Escape")
    expect(slider.facts).to_contain_text("layer 7 of 12 · whole prompt")

    slider.cell.press("1")
    slider.button("Grid").click()  # the strip of this row
    expect(grid).to_be_hidden()
    slider.press("End")
    expect(slider.facts).to_contain_text("layer 12 of 12 · only “pink”")
    assert slider.pixels() == pink
    slider.button("Grid").click()
    expect(grid).to_be_visible()


def test_steps_and_tokens_arrive_while_the_job_runs(open_notebook):
    cell = """import ipywidgets
    job = scripted.job(seconds=3, hold_after=16, snapshots=(0, 10), words=("pink", scripted.PromptPart.PADDING))
    w, other = LayerSlider(job), LayerSlider(scripted.finished_run(snapshots=(0, 8)))
    link = ipywidgets.jslink((w, "step"), (other, "step"))
    display(w, other)"""
    notebook = open_notebook([textwrap.dedent("    " + cell), "job.go_on.set(); job.result().status, w.step, w.token"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider, other = notebook.widget(0), notebook.widget(1)
    cells = slider.root.locator("[role=gridcell]")
    expect(cells.nth(13)).to_have_attribute("title", "layer 0, only “pink”: painted")
    expect(slider.root.locator(".dlw-grid .dlw-is-running")).to_have_count(4)
    expect(cells.nth(30)).to_have_attribute("title", "layer 4, padding only: not computed")
    slider.cell.press("ArrowLeft")
    slider.steps.press("ArrowDown")
    expect(slider.facts).to_contain_text("layer 11 of 12 · whole prompt · prediction at step 11/20")
    assert slider.pixels()
    expect(other.facts).to_contain_text("prediction at step 9/20 (step 11 is not kept)")
    assert notebook.text_of(2) == "('done', 10, None)"
    expect(slider.progress).to_have_text("39 pictures")
    assert notebook.errors == []
