"""Microscope where people use it: in JupyterLab, in a browser, with a kernel at the other end."""

from __future__ import annotations

import ast
import json
import zipfile

from playwright.sync_api import Locator, expect

from browser.lab import Slider, settled
from browser.scripted import finished_run
from difflens_widgets.runs.run import LensRun

IMPORT = "import microscope"


class Scope:
    """A Microscope on a page."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.prompt = root.get_by_role("textbox", name="Prompt", exact=True)
        self.second = root.get_by_role("textbox", name="Second prompt")
        self.seed = root.get_by_role("spinbutton", name="seed")
        self.run = root.locator(".dlw-form .dlw-run").first
        self.stop = root.locator(".dlw-form").get_by_role("button", name="Stop")
        self.notice = root.locator(":scope > .dlw-notice")
        self.history = root.get_by_role("combobox", name="Runs of this session")
        self.live = root.locator(".dlw-live")
        self.nothing = root.locator(".dlw-nothing")
        self.parts = root.locator(".dlw-part .dlw-root")

    def part(self, index: int = 0) -> Slider:
        return Slider(self.parts.nth(index))

    def tab(self, name: str) -> Locator:
        return self.root.get_by_role("tab", name=name)

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)


def scope_of(notebook, index: int = 0) -> Scope:
    return Scope(notebook.panel.locator(".dlw-scope").nth(index))


def show(open_notebook, call: str, *cells: str):
    notebook = open_notebook([f"{IMPORT}; m = microscope.scope({call}); m", *cells])
    notebook.run_cell(0)
    notebook.run_cell(1)
    return notebook, scope_of(notebook)


def test_type_run_scrub_and_a_second_prompt(open_notebook) -> None:
    notebook, scope = show(open_notebook, "seconds=2.5", "m", "m.layer, m.view, m.token, [r.prompt for r in m.runs]")
    notebook.run_cell(2)  # a second view
    other = scope_of(notebook, 1)

    scope.prompt.press("Enter")
    expect(scope.notice).to_contain_text("Type a prompt first")
    expect(scope.prompt).to_be_focused()
    text = "a pink <img src=x onerror=alert(1)> cat"
    scope.prompt.fill(text)
    expect(other.prompt).to_have_value(text)
    scope.prompt.press("Enter")
    expect(scope.stop).to_be_visible()
    expect(other.stop).to_be_visible()
    expect(scope.live).to_contain_text("Painting: ")
    scope.part().wait_until_done()
    expect(scope.live).to_have_text("Painted")
    expect(scope.notice).to_be_hidden()
    notebook.page.wait_for_timeout(1000)  # the notebook replaces the output by one with the still picture
    expect(scope.prompt).to_be_focused()
    assert scope.root.locator("img").count() == 0
    expect(other.part().done_marks).to_have_count(13)

    scope.part().press("ArrowLeft")
    expect(scope.part().facts).to_contain_text("layer 11 of 12")
    expect(other.part().facts).to_contain_text("layer 11 of 12")
    scope.tab("Layers").press("ArrowRight")
    expect(scope.tab("Words")).to_be_focused()
    expect(scope.nothing).to_contain_text("once more for each of the 14 words")
    scope.tab("Words").press("ArrowRight")
    grid = scope.parts.first
    expect(grid.locator(".dlw-split")).to_be_visible()
    expect(scope.part().facts).to_contain_text("layer 11 of 12")
    grid.locator(".dlw-chip").get_by_text("pink", exact=True).click()
    scope.tab("Layers").click()
    expect(scope.parts.first.locator(".dlw-chip.dlw-marked")).to_have_text("pink")

    scope.tab("Words").click()
    scope.run.press("Enter")
    expect(scope.part().progress).to_have_text("91 pictures", timeout=30_000)
    expect(scope.run).to_be_focused()
    expect(scope.part().facts).to_contain_text("only “pink”")
    scope.tab("Layers").click()
    expect(scope.part().facts).not_to_contain_text("pink")  # the prompt as it is

    scope.tab("Compare").click()
    scope.second.press("Enter")
    expect(scope.notice).to_contain_text("Type a second prompt first")
    scope.tab("Layers").click()
    expect(scope.notice).to_be_hidden()
    scope.root.get_by_label("Examples").select_option(index=1)
    expect(scope.notice).to_contain_text("Press Run to paint it")

    scope.tab("Compare").click()
    scope.prompt.fill("a red circle")
    expect(scope.notice).to_be_hidden()
    scope.second.fill("a blue circle")
    scope.second.press("Enter")
    scope.part(1).wait_until_done()
    expect(scope.parts).to_have_count(2)
    scope.part(0).press("Home")
    expect(scope.part(1).facts).to_contain_text("layer 0 of 12")

    scope.history.select_option(index=1)
    expect(scope.prompt).to_have_value(text)
    scope.tab("Layers").click()
    expect(scope.part().facts).to_contain_text("layer 0 of 12")
    answer = notebook.text_of(3)
    expected = (0, "layers", None, [text, text, "a red circle", "a blue circle"])
    assert ast.literal_eval(answer) == expected
    assert notebook.errors == []


def test_stop_a_busy_kernel_a_reload_and_a_restart(open_notebook) -> None:
    call = "'a pink cat', seconds=1, hold_after=4"
    notebook, scope = show(open_notebook, call, "import time; time.sleep(4)")
    scope.run.click()
    expect(scope.part().done_marks).to_have_count(4)
    notebook.save()

    notebook.reload()  # during the run
    scope = scope_of(notebook)
    expect(scope.stop).to_be_visible()
    expect(scope.prompt).to_have_value("a pink cat")
    expect(scope.part().done_marks).to_have_count(4)
    scope.stop.click()
    expect(scope.run).to_be_visible()
    expect(scope.live).to_have_text("Stopped")
    expect(scope.part().done_marks).to_have_count(4)

    cell = notebook.panel.locator(".jp-CodeCell").nth(2)
    cell.locator(".cm-content").click()
    notebook.page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputArea-prompt")).to_contain_text("*")
    scope.prompt.fill("a dog")
    scope.run.click()
    expect(scope.notice.or_(scope.stop).first).to_be_visible()  # some kernels answer during a cell
    expect(scope.stop).to_be_visible(timeout=10_000)
    expect(scope.notice).to_be_hidden()
    scope.stop.click()
    expect(scope.run).to_be_enabled()
    expect(scope.history.locator("option")).to_have_count(2)

    notebook.restart_kernel()
    expect(scope.notice).to_contain_text("There is no kernel behind this Microscope")
    expect(scope.run).to_be_disabled()
    expect(scope.button("Open…")).to_be_disabled()
    expect(scope.history).to_be_disabled()
    scope.part().press("Home")
    expect(scope.part().facts).to_contain_text("layer 0 of 12")
    scope.tab("Attention").click()
    expect(scope.parts.first.locator(".dlw-split")).to_be_visible()


def test_save_and_open_a_file_and_a_saved_notebook(open_notebook, server, tmp_path) -> None:
    manager = {"scope": "@jupyter-widgets", "plugin": "jupyterlab-manager/plugin"}
    server.setting(**manager, saveState=True)
    notebook, scope = show(open_notebook, "seconds=0.3")
    run = finished_run("a red star", words=["star"])
    file = run.save(tmp_path / "star.lens")
    newer = tmp_path / "newer.lens"
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "run.json":
                content = json.dumps({**json.loads(content), "version": [99, 0]}).encode()
            new.writestr(name, content)
    chooser = scope.root.locator("input[type=file]")
    chooser.set_input_files(file)
    expect(scope.part().progress).to_have_text("13 layers")  # the words are in their tab
    expect(scope.prompt).to_have_value("a red star")
    expect(scope.seed).to_have_value("0")
    first = settled(scope.parts.first.locator(".dlw-picture"))
    scope.tab("Words").click()
    expect(scope.root.get_by_role("rowheader", name="star")).to_be_visible()
    expect(scope.part().progress).to_have_text("26 pictures")

    chooser.set_input_files(newer)
    expect(scope.notice).to_contain_text("newer.lens")
    expect(scope.notice).to_contain_text("newer")
    expect(scope.root.get_by_role("rowheader", name="star")).to_be_visible()
    scope.tab("Layers").click()
    assert settled(scope.parts.first.locator(".dlw-picture")) == first

    with notebook.page.expect_download() as download:
        scope.button("Save .lens").click()
    assert download.value.suggested_filename == "lens-a-red-star.lens"
    download.value.save_as(tmp_path / "again.lens")
    again = LensRun.load(tmp_path / "again.lens")
    assert (again.prompt, len(again.images), len(again.token_images)) == ("a red star", 13, 13)

    before = scope.seed.input_value()
    scope.button("Another seed").click()
    expect(scope.seed).not_to_have_value(before)
    scope.root.get_by_role("combobox", name="Examples").select_option(index=1)
    expect(scope.prompt).to_have_value("a red circle and a blue square")

    notebook.save()
    notebook.page.close()
    server.end_kernels()
    server.setting(**manager, saveState=False)
    scope = scope_of(open_notebook(name=notebook.name))
    expect(scope.part().done_marks).to_have_count(13)
    assert settled(scope.parts.first.locator(".dlw-picture")) == first
    expect(scope.notice).to_contain_text("There is no kernel behind this Microscope")
    expect(scope.run).to_be_disabled()
