"""TokenAttentionGrid where people use it: in JupyterLab, in a browser, with a kernel at the other end."""

from __future__ import annotations

import re
import textwrap

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import expect

from browser.scripted import AttentionOptions, finished_run
from browser.test_layer_slider import wait_for_still

KEPT = "attention=scripted.AttentionOptions(steps=[0, 10])"
DONE = f"w = TokenAttentionGrid(scripted.finished_run({KEPT})); w"
WORDS = ["a", "pink", "cat", "on", "a", "blue", "background"]
NOTHING = "Point at a word to see where it looks; click to keep it."


@pytest.fixture
def grid(open_notebook):
    """The grid of a finished run in a notebook, where nothing may go wrong."""
    notebook = open_notebook([DONE])
    notebook.run_cell(0)
    notebook.run_cell(1)
    shown = notebook.grid()
    expect(shown.cells).to_have_count(13 * len(WORDS))
    yield shown
    assert notebook.errors == []


@pytest.fixture(scope="module")
def attention():
    return finished_run(attention=AttentionOptions(steps=[0, 10])).attention


def test_a_word_that_is_pointed_at_lights_up(grid):
    expect(grid.value).to_have_text(NOTHING)
    assert grid.heat() == ""
    seen = set()
    for target in (grid.chip("cat"), grid.chip("pink"), grid.head("blue"), grid.chip("start"), grid.chip("· 67 pad")):
        target.hover()
        expect(grid.value).not_to_have_text(NOTHING)
        seen.add(grid.heat())
    assert len(seen) == 5
    assert "" not in seen
    grid.head("cat").hover()
    expect(grid.scales.first).to_contain_text("cat")
    of_head = grid.heat()
    grid.cells.nth(12 * 7 + 2).hover()
    expect(grid.value).to_contain_text("here, layer 12: cat")
    assert grid.heat() == of_head
    grid.progress.hover()
    expect(grid.value).to_have_text(NOTHING)
    assert grid.heat() == ""


def test_a_click_pins_and_one_with_shift_adds_a_second_hue(grid):
    grid.chip("cat").click()
    expect(grid.pinned).to_have_text(["cat"])
    grid.progress.hover()
    warm = grid.heat()
    assert warm
    grid.chip("blue").click(modifiers=["Shift"])
    expect(grid.pinned).to_have_text(["cat", "blue"])
    expect(grid.root.locator(".dlw-chip.dlw-hue-1")).to_have_text(["blue"])
    expect(grid.scales.locator("b:visible")).to_have_text(["cat", "blue"])
    both = grid.heat()
    assert both not in ("", warm)
    grid.head("pink").hover()  # alone, as long as it is pointed at
    expect(grid.scales.locator("b:visible")).to_have_text(["pink"])
    grid.progress.hover()
    expect(grid.scales.locator("b:visible")).to_have_text(["cat", "blue"])
    assert grid.heat() == both
    grid.chip("pink").click(modifiers=["Shift"])  # at most two
    expect(grid.pinned).to_have_text(["pink", "cat"])
    grid.chip("pink").click(modifiers=["Shift"])
    expect(grid.pinned).to_have_text(["cat"])
    grid.progress.hover()
    assert grid.heat() == warm
    grid.press("Escape")
    expect(grid.pinned).to_have_count(0)
    assert grid.heat() == ""
    grid.chip("cat").click()
    grid.chip("cat").click()
    expect(grid.pinned).to_have_count(0)  # though it is still pointed at


def test_the_value_under_the_pointer_is_that_of_the_map(grid, attention):
    grid.chip("cat").click()
    grid.chip("blue").click(modifiers=["Shift"])
    for x, y in ((4, 5), (9, 4), (12, 13)):
        grid.point_at(grid.picture, (x + 0.5) / 16, (y + 0.5) / 16)
        expect(grid.value).to_have_text(re.compile(r"^here: cat [\d.e-]+ · blue [\d.e-]+$"))
        found = [float(number) for number in re.findall(r"(?:cat|blue) ([\d.e-]+)", grid.value.inner_text())]
        for word, value in zip(("cat", "blue"), found, strict=True):
            of_word = attention[12].heatmap(word)
            # half a step of the byte that travels, half a unit of the second digit that is shown
            assert value == pytest.approx(of_word[y, x], abs=float(of_word.max()) / 500, rel=0.05)
    grid.button("U-Net blocks").click()
    expect(grid.row_heads).to_have_count(4)
    cell = grid.cells.nth(2 * 7 + 1)  # "pink" in the middle block
    grid.point_at(cell.locator(".dlw-box"), 2.5 / 4, 1.5 / 4)
    expect(grid.value).to_contain_text("here, mid_block: pink")
    of_pink = attention[12].heatmap("pink", block="mid_block")
    value = float(grid.value.inner_text().split()[-1])
    assert value == pytest.approx(of_pink[1, 2], abs=float(of_pink.max()) / 500, rel=0.05)


def test_rows_are_layers_blocks_or_steps(grid):
    expect(grid.row_heads).to_have_text([f"layer {layer}" for layer in range(13)])
    expect(grid.root.get_by_role("columnheader")).to_have_text(["layer", *WORDS])
    grid.chip("cat").click()
    block = grid.root.get_by_role("combobox", name="Block")
    of_all = grid.heat()
    block.select_option("mid_block")
    expect(grid.facts).to_contain_text("layer 12 of 12 · mid_block · step 20/20 · seed 0")
    assert grid.heat() != of_all

    grid.button("U-Net blocks").click()
    expect(grid.row_heads).to_have_text(["all blocks", "down_blocks.0", "mid_block", "up_blocks.2"])
    expect(block).to_be_hidden()
    expect(grid.root.locator(".dlw-row-head.dlw-current")).to_have_text("mid_block")
    grid.press("ArrowLeft")  # another layer, its blocks
    expect(grid.facts).to_contain_text("layer 11 of 12 · mid_block")
    grid.row_heads.first.click()
    expect(grid.facts).to_contain_text("layer 11 of 12 · all blocks")

    grid.button("Steps").click()
    expect(grid.row_heads).to_have_text(["all steps", "step 1", "step 11"])
    expect(grid.facts).to_contain_text("layer 11 of 12 · all steps")
    grid.cells.nth(2 * 7 + 2).click()
    expect(grid.facts).to_contain_text("layer 11 of 12 · maps of step 11")
    expect(grid.pinned).to_have_text(["cat"])
    grid.button("Encoder layers").click()
    expect(grid.cells).to_have_count(13 * 7)


def test_keys(grid):
    grid.press("3")
    expect(grid.pinned).to_have_text(["cat"])
    grid.press("Shift+ArrowRight")
    expect(grid.pinned).to_have_text(["cat", "on"])
    grid.press("ArrowLeft")
    expect(grid.facts).to_contain_text("layer 11 of 12")
    grid.press("Home")
    expect(grid.facts).to_contain_text("layer 0 of 12")
    grid.press("ArrowDown")  # rows, from the slider too
    expect(grid.facts).to_contain_text("layer 1 of 12")
    expect(grid.pinned).to_have_text(["cat", "on"])
    expect(grid.cell).to_have_attribute("data-lm-suppress-shortcuts", "true")
    grid.cell.press("ArrowRight")
    expect(grid.pinned).to_have_text(["a"])
    expect(grid.cell).to_be_focused()
    grid.cell.press("ArrowDown")
    expect(grid.facts).to_contain_text("layer 2 of 12")
    expect(grid.cell).to_be_focused()
    grid.cell.press("End")
    expect(grid.head("background")).to_have_class(re.compile("dlw-hue-0"))
    grid.cell.press("Escape")
    expect(grid.pinned).to_have_count(0)
    grid.cell.press("Space")
    expect(grid.facts).to_contain_text("layer 3 of 12")
    grid.cell.press("Space")
    grid.cell.press("?")
    dialog = grid.root.get_by_role("dialog")
    expect(dialog).to_contain_text("Maps tell where the model looks")
    grid.root.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_ranges_are_written_and_special_tokens_have_their_own(grid, attention):
    most = max(attention[layer].heatmap(place).max() for layer in attention for place in range(1, 9))
    expect(grid.scales.first).to_contain_text(f"{most:#.2g}")
    expect(grid.range_note).to_have_text("one range for all words of the grid")
    expect(grid.root.locator(".dlw-unit")).to_have_text("share of a pixel’s attention")
    grid.button("start, end, padding").click()
    expect(grid.root.get_by_role("columnheader")).to_have_text(["layer", *WORDS, "start", "end", "padding"])
    expect(grid.range_note).to_have_text("one range for all words of the grid; start, end, padding: 0 to 0.50")
    grid.chip("start").click()
    expect(grid.scales.first).to_contain_text("0.50")
    grid.button("start, end, padding").click()
    grid.button("Range per cell").click()
    expect(grid.range_note).to_have_text("each map from 0 to its own highest value")
    grid.chip("cat").click()
    grid.progress.hover()
    own = attention[12].heatmap("cat").max()
    expect(grid.scales.first).to_contain_text(f"{own:#.2g}")


def test_the_kernel_knows_what_is_on_screen_and_can_set_it(open_notebook):
    cells = [
        DONE,
        "w.layer, w.rows, w.block, w.token, w.selected_tokens, w.normalize, w.opacity",
        "w.selected_tokens = ['pink', 'background']; w.rows = 'steps'; w.step = 7; w.opacity = 0.3",
        "w",
    ]
    notebook = open_notebook(cells)
    notebook.run_cell(0)
    notebook.run_cell(1)
    grid = notebook.grid()
    grid.chip("cat").click()
    grid.chip("blue").click(modifiers=["Shift"])
    grid.root.get_by_role("combobox", name="Block").select_option("mid_block")
    grid.button("Range per cell").click()
    grid.button("U-Net blocks").click()
    grid.opacity.fill("40")
    grid.press("ArrowLeft")
    notebook.page.wait_for_timeout(500)
    assert notebook.text_of(2) == "(11, 'blocks', 'mid_block', 3, [3, 6], 'cell', 0.4)"
    notebook.run_cell(3)
    expect(grid.pinned).to_have_text(["pink", "backgro", "und"])
    expect(grid.facts).to_contain_text("layer 11 of 12 · maps of step 1 (step 8 is not kept)")
    assert grid.root.evaluate("root => root.style.getPropertyValue('--dlw-opacity')") == "0.3"
    notebook.run_cell(4)  # a second view is complete and goes along
    other = notebook.grid(1)
    expect(other.pinned).to_have_text(["pink", "backgro", "und"])
    assert other.heat() == grid.heat() != ""
    other.cell.press("Escape")
    expect(grid.pinned).to_have_count(0)
    assert notebook.errors == []


def test_maps_arrive_while_the_job_runs(open_notebook, kernel):
    cells = [
        f"job = scripted.job(seconds=2, hold_after=8, {KEPT}); w = TokenAttentionGrid(job); w",
        "job.done(), w.layer, w.token",
    ]
    notebook = open_notebook(cells, kernel=kernel)
    notebook.run_cell(0)
    notebook.run_cell(1)
    grid = notebook.grid()
    expect(grid.done_marks).to_have_count(8)
    with_maps = grid.root.locator("[role=gridcell].dlw-over")
    expect(with_maps).to_have_count(8 * 7)
    expect(grid.range_note).to_have_text("one range for all words of the grid, so far")
    grid.chip("cat").click()
    assert grid.heat()
    grid.press("ArrowLeft")
    expect(grid.root.locator(".dlw-film .dlw-is-running, .dlw-film .dlw-is-preview").first).to_be_visible()
    grid.stop.click()
    expect(grid.progress).to_have_text("stopped · 8 of 13 layers")
    assert notebook.text_of(2) == "(True, 11, 3)"
    expect(with_maps).to_have_count(8 * 7)
    assert notebook.errors == []


def test_linked_with_a_slider(open_notebook):
    cell = f"""import ipywidgets
    run = scripted.finished_run(words=("pink",), {KEPT})
    slider, grid = LayerSlider(run), TokenAttentionGrid(run)
    links = [ipywidgets.jslink((slider, name), (grid, name)) for name in ("layer", "token", "step")]
    display(slider, grid)"""
    notebook = open_notebook([textwrap.dedent("    " + cell)])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider, grid = notebook.widget(0), notebook.grid(1)
    slider.cell.press("ArrowDown")
    expect(slider.facts).to_contain_text("only “pink”")
    expect(grid.pinned).to_have_text(["pink"])
    slider.cell.press("ArrowLeft")
    expect(grid.facts).to_contain_text("layer 11 of 12")
    grid.press("Escape")
    expect(slider.facts).to_contain_text("layer 11 of 12 · whole prompt")
    grid.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    assert notebook.errors == []


def test_a_stock_picture_has_no_layers(open_notebook):
    cell = """run = scripted.finished_run(attention=scripted.AttentionOptions())
    TokenAttentionGrid(run.attention[12], run.images[12])"""
    notebook = open_notebook([textwrap.dedent("    " + cell)])
    notebook.run_cell(0)
    notebook.run_cell(1)
    grid = notebook.grid()
    expect(grid.row_heads).to_have_text(["all blocks", "down_blocks.0", "mid_block", "up_blocks.2"])
    expect(grid.button("Encoder layers")).to_be_disabled()
    expect(grid.button("Encoder layers")).to_have_attribute("title", "A single picture has no layers to compare")
    expect(grid.button("Steps")).to_be_disabled()
    expect(grid.button("Steps")).to_have_attribute("title", re.compile(r"No step was kept.*AttentionOptions\(steps="))
    expect(grid.range).to_be_hidden()
    expect(grid.facts).to_have_text("all blocks")
    grid.cell.press("2")
    expect(grid.pinned).to_have_text(["pink"])
    assert grid.heat()
    assert notebook.errors == []


def test_failures_and_hostile_prompts(open_notebook):
    hostile = "<img src=x onerror=window.hacked=1> <b>dog</b>"
    cells = [
        f"TokenAttentionGrid(scripted.job({hostile!r}, seconds=0.5, fail_after=4, {KEPT}))",
        f"TokenAttentionGrid(scripted.job(seconds=0.5, fail_layer=12, {KEPT}))",
        "TokenAttentionGrid()",
        "TokenAttentionGrid(scripted.finished_run())",
    ]
    notebook = open_notebook(cells)
    for index in range(5):
        notebook.run_cell(index)
    broken, one_failed, empty = (notebook.grid(index) for index in range(3))
    expect(broken.notice).to_contain_text("RuntimeError: the decoder gave NaN.")
    expect(broken.progress).to_have_text("4 of 13 layers")
    expect(broken.head("<img")).to_be_visible()
    assert notebook.panel.locator(".dlw-root :is(img)").count() == 0
    assert notebook.page.evaluate("window.hacked") is None
    expect(one_failed.facts).to_contain_text("layer 12 of 12 · all blocks · failed")
    expect(one_failed.root.locator(".dlw-hole")).to_contain_text("its latents are not finite")
    expect(one_failed.root.locator("[role=gridcell].dlw-is-failed")).to_have_count(7)
    expect(empty.root.locator(".dlw-hole")).to_contain_text("attention=True")
    expect(empty.root.get_by_role("grid")).to_be_hidden()
    expect(notebook.output(4)).to_contain_text("lens(prompt, attention=True)")


def test_the_picture_is_saved_with_its_map(grid, tmp_path):
    def save():
        with grid.root.page.expect_download() as download:
            grid.button("PNG").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path.name, Image.open(path).convert("RGB")

    name, bare = save()
    assert name == "attention-layer-12-a-pink-cat-on-a-blue-background.png"
    assert bare.tobytes() == finished_run().images[12].tobytes()
    grid.press("3")
    name, seen = save()
    assert name == "attention-cat-layer-12-a-pink-cat-on-a-blue-background.png"
    assert seen.size == (512, 512)
    difference = ImageChops.difference(seen, bare.resize((512, 512), Image.Resampling.NEAREST))
    assert max(ImageStat.Stat(difference).mean) > 20
    expect(grid.button("GIF")).to_be_hidden()


def test_restored_without_its_kernel(open_notebook, server):
    manager = {"scope": "@jupyter-widgets", "plugin": "jupyterlab-manager/plugin"}
    server.setting(**manager, saveState=True)
    try:
        notebook = open_notebook([f"w = TokenAttentionGrid(scripted.job(seconds=1, hold_after=8, {KEPT})); w"])
        notebook.run_cell(0)
        notebook.run_cell(1)
        grid = notebook.grid()
        expect(grid.root.locator("[role=gridcell].dlw-over")).to_have_count(8 * 7)
        grid.press("3")
        heat = grid.heat()
        assert heat
        notebook.page.wait_for_timeout(500)
        notebook.save()  # in the middle of the run
        notebook.page.close()
        server.end_kernels()

        grid = open_notebook(name=notebook.name).grid()
        expect(grid.root.locator("[role=gridcell].dlw-over")).to_have_count(8 * 7)
        expect(grid.progress).to_have_text("stopped · 8 of 13 layers")
        expect(grid.notice).to_contain_text("kernel")
        expect(grid.stop).to_be_hidden()
        expect(grid.pinned).to_have_text(["cat"])
        assert grid.heat() == heat
        grid.button("U-Net blocks").click()
        expect(grid.row_heads).to_have_count(4)
        grid.press("Home")
        grid.press("2")
        expect(grid.facts).to_contain_text("layer 0 of 12")
        assert grid.heat() not in ("", heat)
    finally:
        server.setting(**manager, saveState=False)


def test_the_notebook_file_shows_a_picture(open_notebook, server):
    notebook = open_notebook([f"TokenAttentionGrid(scripted.job(seconds=1, {KEPT}))"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    notebook.grid().wait_until_done()
    assert len(wait_for_still(notebook, server)["image/png"]) > 10_000
