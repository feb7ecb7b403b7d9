"""Takes a picture of the widgets in every state, light and dark, wide and narrow: python screenshots.py FOLDER."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browser import lab

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
PROMPT = "a photo of a small pink cat on a blue background"
WORDS = "words=['photo', 'pink', 'cat', 'blue', scripted.PromptPart.PADDING]"
STEPS = "attention=scripted.AttentionOptions(steps=[0, 5, 10, 15])"
DIFF = "from difflens_widgets import DiffViewer; w = DiffViewer(scripted.comparison(size={}))"
CELLS = {
    "empty": "LayerSlider()",
    "running": "LayerSlider(scripted.job(seconds=2, hold_after=6, batch_size=3))",
    "done": "LayerSlider(scripted.job('a photo of a xon bear beside the chameleons', seconds=0.4))",
    "large": "LayerSlider(scripted.finished_run(size=512))",
    "stopped": "LayerSlider(scripted.job(seconds=1, hold_after=4))",
    "failed": "LayerSlider(scripted.job(seconds=0.5, fail_after=4))",
    "one-failed": "LayerSlider(scripted.job(seconds=0.5, fail_layer=12))",
    "narrow-running": "import ipywidgets as W; W.Box([LayerSlider(scripted.job(seconds=2, hold_after=6))], "
    "layout=dict(width='400px'))",
    "narrow-done": "W.Box([LayerSlider(scripted.finished_run('a small red fish inside a large yellow ring'))], "
    "layout=dict(width='400px'))",
    "snapshots": f"LayerSlider(scripted.finished_run({PROMPT!r}, 256, snapshots=range(0, 20, 5)))",
    "snapshots-running": "LayerSlider(scripted.job(seconds=2, hold_after=4, snapshots=range(0, 20, 3)))",
    "grid": f"LayerSlider(scripted.finished_run({PROMPT!r}, 256, {WORDS}))",
    "grid-running": f"LayerSlider(scripted.job({PROMPT!r}, seconds=4, fail_layer=5, hold_after=28, {WORDS}))",
    "both-narrow": "W.Box([LayerSlider(scripted.finished_run('a photo of chameleons beside a pink cat', "
    "snapshots=range(0, 20, 2), "
    "words=['chameleons', 'pink', 'cat', *scripted.PromptPart]))], layout=dict(width='400px'))",
    "attention": f"g = TokenAttentionGrid(scripted.finished_run({PROMPT!r}, 256, {STEPS})); "
    "g.selected_tokens = ['cat']; g",
    "attention-two": f"g = TokenAttentionGrid(scripted.finished_run({PROMPT!r}, 512, {STEPS})); "
    "g.selected_tokens = ['cat', 'blue']; g.rows = 'blocks'; g.normalize = 'cell'; g",
    "attention-running": f"TokenAttentionGrid(scripted.job(seconds=2, hold_after=6, fail_layer=5, {STEPS}))",
    "attention-picture": f"r = scripted.finished_run({STEPS}); TokenAttentionGrid(r.attention[12], r.images[12])",
    "attention-empty": "TokenAttentionGrid()",
    "attention-narrow": "g = TokenAttentionGrid(scripted.finished_run('a photo of chameleons beside a pink cat', "
    f"{STEPS})); g.rows = 'steps'; g.selected_tokens = ['pink']; W.Box([g], layout=dict(width='400px'))",
    "diff-side": f"{DIFF.format(512)}; w.metric = 'latent_rms'; w",
    "diff-word": f"{DIFF.format(64)}; w.token = 2; w.layer = 5; w",
    "diff-curtain": f"{DIFF.format(256)}; w.mode = 'curtain'; w.layer = 9; w.metric = 'ssim'; w",
    "diff-difference": f"{DIFF.format(64)}; w.mode = 'difference'; w",
    "diff-swap-grid": f"{DIFF.format(64)}; w.mode = 'swap_grid'; w.metric = 'attribution'; w",
    "diff-empty": "DiffViewer()",
    "diff-narrow": f"{DIFF.format(64)}; w.token = 2; W.Box([w], layout=dict(width='400px'))",
    "scope-empty": "import microscope; microscope.scope()",
    "scope-running": "m = microscope.scope('a pink cat', seconds=2, hold_after=6); m.start(); m",
    "scope-done": "m = microscope.scope('a pink cat', seconds=0.1); m.start().result(); m",
    "scope-words": "m = microscope.scope('a pink cat', seconds=0.1); m.view = 'tokens'; m.start().result(); m",
    "scope-attention": "m = microscope.scope('a pink cat', seconds=0.1); m.view = 'attention'; m.start().result(); "
    "m.token = 3; m",
    "scope-compare": "m = microscope.scope('a red circle and a blue square', seconds=0.1); m.view = 'compare'; "
    "m.second_prompt = 'a blue circle and a red square'; m.start().result(); m",
    "scope-narrow": "m = microscope.scope('a pink cat', seconds=0.1); m.view = 'compare'; "
    "m.second_prompt = 'a green cat'; m.start().result(); W.Box([m], layout=dict(width='400px'))",
    "epochs": "import training; from difflens_widgets import EpochScrubber; EpochScrubber(training.finished())",
    "epochs-drift": "e = EpochScrubber(training.finished()); e.color_by = 'ssim_distance'; "
    "e.validation_prompt = 1; e.epoch = 200; e",
    "epochs-running": "EpochScrubber(training.Training(training.new(), seconds=0.1, hold_at=200).start())",
    "epochs-failed": "EpochScrubber(training.Training(training.new(), fail_at=150).start())",
    "epochs-empty": "EpochScrubber()",
    "epochs-narrow": "W.Box([EpochScrubber(training.finished(range(0, 301, 20), config={}))], "
    "layout=dict(width='400px'))",
}


def main() -> None:
    """Write one PNG for each state and theme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        browser = lab.launch(playwright)
        server = lab.LabServer(Path(work))
        try:
            for theme, name in THEMES.items():
                server.setting("apputils-extension/themes", theme=name)
                server.setting("jupyterlab-manager/plugin", scope="@jupyter-widgets", saveState=False)
                live(browser, server, folder, theme)
                restored(browser, server, folder, theme)
            page_of_its_own(browser, folder)
        finally:
            server.close()


def live(browser: Browser, server: lab.LabServer, folder: Path, theme: str) -> None:
    """All states that have a kernel."""
    server.write(f"{theme}.ipynb", [lab.SETUP, *CELLS.values()])
    page = browser.new_page(viewport={"width": 1360, "height": 1000})
    notebook = lab.Notebook(page, server, f"{theme}.ipynb")
    notebook.wait_for_kernel()
    for index in range(len(CELLS) + 1):
        notebook.run_cell(index)
    sliders = {
        name: lab.Slider(notebook.output(index).locator(".dlw-root").first) for index, name in enumerate(CELLS, 1)
    }
    expect(sliders["running"].done_marks).to_have_count(6, timeout=30_000)
    sliders["stopped"].stop.click()
    expect(sliders["stopped"].progress).to_contain_text("stopped", timeout=15_000)
    expect(sliders["narrow-running"].done_marks).to_have_count(8, timeout=15_000)
    pink = sliders["grid-running"].root.locator(".dlw-row").nth(3)
    expect(pink.locator(".dlw-is-running")).to_have_count(4, timeout=30_000)
    expect(sliders["attention-running"].done_marks).to_have_count(7, timeout=15_000)
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
        sliders["snapshots"].press(key)
    for name, keys in {"grid": ("ArrowDown", "ArrowDown", "ArrowLeft"), "both-narrow": ("ArrowDown",)}.items():
        for key in keys:
            sliders[name].cell.press(key)
    sliders["snapshots-running"].press("ArrowDown")
    sliders["failed"].press("ArrowRight")
    sliders["done"].wait_until_done()
    page.wait_for_timeout(1500)
    sliders["running"].press("ArrowLeft")
    page.wait_for_timeout(600)
    page.screenshot(path=folder / f"lab-{theme}.png")
    for name, slider in sliders.items():
        slider.root.scroll_into_view_if_needed()
        page.wait_for_timeout(200)
        slider.root.screenshot(path=folder / f"{name}-{theme}.png")
    sliders["done"].press("?")
    sliders["done"].root.screenshot(path=folder / f"help-{theme}.png")
    page.close()
    server.end_kernels()


def restored(browser: Browser, server: lab.LabServer, folder: Path, theme: str) -> None:
    """What a saved notebook shows without its kernel: its saved state, and the picture where that is not trusted."""
    server.setting("jupyterlab-manager/plugin", scope="@jupyter-widgets", saveState=True)
    file = server.write(f"saved-{theme}.ipynb", [lab.SETUP, CELLS["running"], CELLS["done"]])
    page = browser.new_page(viewport={"width": 1360, "height": 1000})
    notebook = lab.Notebook(page, server, file.name)
    notebook.wait_for_kernel()
    for index in range(3):
        notebook.run_cell(index)
    expect(notebook.widget(0).done_marks).to_have_count(6, timeout=30_000)
    notebook.widget(1).wait_until_done()
    page.wait_for_timeout(2500)
    notebook.save()
    page.close()
    server.end_kernels()

    page = browser.new_page(viewport={"width": 1360, "height": 1000})
    notebook = lab.Notebook(page, server, file.name)
    expect(notebook.widget(0).notice).to_be_visible(timeout=30_000)
    notebook.widget(0).root.screenshot(path=folder / f"restored-{theme}.png")
    page.close()

    stranger = file.with_name(f"stranger-{theme}.ipynb")
    stranger.write_text(file.read_text("utf-8").replace("import sys", "import sys ", 1), "utf-8")
    page = browser.new_page(viewport={"width": 1360, "height": 1000})
    notebook = lab.Notebook(page, server, stranger.name)
    expect(notebook.output(2).locator("img")).to_be_visible(timeout=30_000)
    page.wait_for_timeout(500)
    page.screenshot(path=folder / f"untrusted-{theme}.png")
    page.close()
    server.end_kernels()


def page_of_its_own(browser: Browser, folder: Path) -> None:
    """The exported page, where no notebook lends its colours."""
    import scripted

    with tempfile.TemporaryDirectory() as work:
        address = scripted.finished_run().to_html(Path(work) / "lens.html").as_uri()
        for theme in THEMES:
            page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme=theme)
            page.goto(address)
            expect(lab.Slider(page.locator(".dlw-root")).done_marks).to_have_count(13)
            page.screenshot(path=folder / f"page-{theme}.png")
            page.close()


if __name__ == "__main__":
    main()
