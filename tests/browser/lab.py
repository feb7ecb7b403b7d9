"""A real JupyterLab server in a temporary folder, and one of its notebooks in a real browser."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from difflens_widgets.cli.bench_channel import lab_server
from difflens_widgets.cli.bench_channel.lab_server import CHROMIUM_FLAGS, find_chromium

_EXECUTED = re.compile(r"\[\d+\]:")
_WATCH = """prompt => {
  delete prompt.dataset.hasRun;
  new MutationObserver((_, observer) => {
    if (!prompt.textContent.includes("*")) return;
    prompt.dataset.hasRun = "1";
    observer.disconnect();
  }).observe(prompt, { childList: true, characterData: true, subtree: true });
}"""
_SETTLED = """async canvas => {
  const busy = () => canvas.closest("[aria-busy=true]") !== null;
  const look = () => (canvas.hidden ? "" : canvas.toDataURL());
  let before = look();
  for (let looks = 0; looks < 100; looks++) {
    await new Promise((after) => setTimeout(after, 50));
    const now = look();
    if (now === before && !busy()) break;
    before = now;
  }
  return before;
}"""
FOLDER = Path(__file__).resolve().parent
SETUP = f"""import sys
sys.path.append({str(FOLDER)!r})
import scripted
from difflens_widgets.widgets import LayerSlider, TokenAttentionGrid"""
"""The first cell of a notebook: the widgets, and jobs to show."""


def launch(playwright: Playwright) -> Browser:
    """The installed Chromium, headless."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)


class LabServer(lab_server.LabServer):
    """A JupyterLab server as the package starts it, which may offer an older kernel as well.

    Parameters
    ----------
    folder : Path
        Its notebooks, settings and everything it writes are below.
    old_python : str or None
        An interpreter with an older ipykernel, offered as the kernel `old`.
    """

    def __init__(self, folder: Path, old_python: str | None = None) -> None:
        if old_python:
            _offer_kernel(folder, "old", old_python)
        super().__init__(folder)

    def trusts(self, name: str) -> bool:
        """Whether Jupyter trusts the outputs of a notebook."""
        cells = self.call("GET", f"contents/{name}?content=1")["content"]["cells"]
        return all(cell["metadata"].get("trusted") for cell in cells)

    def end_kernels(self) -> None:
        """Shut every kernel of this server down."""
        deadline = time.monotonic() + 20
        while sessions := self.call("GET", "sessions"):
            for session in sessions:
                try:
                    self.call("DELETE", f"sessions/{session['id']}")
                except urllib.error.HTTPError:  # one that is just restarting cannot be ended yet
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)


def _offer_kernel(folder: Path, name: str, python: str) -> None:
    spec = {
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": name,
        "language": "python",
    }
    place = folder / "data" / "kernels" / name
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec), "utf-8")


class Notebook:
    """A notebook open in a page, driven as a user does."""

    def __init__(self, page: Page, server: LabServer, name: str) -> None:
        self.page = page
        self.name = name
        self._server = server
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(server.page_address(name))
        self.panel = page.locator(".jp-NotebookPanel:visible")
        self.panel.locator(".jp-Cell").first.wait_for(timeout=60_000)

    def widget(self, index: int = 0) -> Slider:
        """The widget of this number in the notebook."""
        return Slider(self.panel.locator(".dlw-root").nth(index))

    def grid(self, index: int = 0) -> Grid:
        """The widget of this number in the notebook, a TokenAttentionGrid."""
        return Grid(self.panel.locator(".dlw-root").nth(index))

    def wait_for_kernel(self) -> None:
        """Wait until the kernel is idle, for the server and for the page (the page alone says so too early)."""
        deadline = time.monotonic() + 60
        while not self._server.kernel_is_ready(self.name):
            assert time.monotonic() < deadline, "the kernel did not start"
            self.page.wait_for_timeout(100)
        expect(self.page.get_by_role("button", name="| Idle")).to_be_visible(timeout=30_000)

    def run_cell(self, index: int) -> None:
        """Run one cell, and wait until it has finished."""
        cell = self.panel.locator(".jp-CodeCell").nth(index)
        prompt = cell.locator(".jp-InputArea-prompt")
        prompt.evaluate(_WATCH)  # a cell that ran before still shows its former number when the keys are pressed
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).to_have_attribute("data-has-run", "1", timeout=30_000)
        expect(prompt).to_have_text(_EXECUTED, timeout=30_000)

    def output(self, index: int) -> Locator:
        """The output of one cell."""
        return self.panel.locator(".jp-CodeCell").nth(index).locator(".jp-Cell-outputArea")

    def text_of(self, index: int) -> str:
        """Run a cell and return the text of its output."""
        self.run_cell(index)
        return self.output(index).locator(".jp-OutputArea-output").last.inner_text()

    def save(self) -> None:
        """Save with Ctrl+S, and wait until the file is written; again if the notebook changed meanwhile."""
        unsaved = self.page.locator(".lm-TabBar-tab.jp-mod-dirty")
        for patience in (4_000, 4_000, 15_000):
            self.page.keyboard.press("Control+s")
            try:
                expect(unsaved).to_have_count(0, timeout=patience)
                return
            except AssertionError:
                if patience == 15_000:
                    raise

    def restart_kernel(self) -> None:
        """Restart the kernel with the button of the toolbar, and confirm."""
        self.panel.get_by_role("button", name="Restart the kernel", exact=True).click()
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def reload(self) -> None:
        """Load the page anew, as F5 does."""
        self.page.reload()
        self.panel.locator(".jp-Cell").first.wait_for(timeout=60_000)
        self.wait_for_kernel()


class Slider:
    """A LayerSlider on a page."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.range = root.locator(".dlw-film .dlw-range")
        self.steps = root.get_by_role("slider", name="Denoising step")
        self.cell = root.locator("[role=gridcell][tabindex='0']")
        self.facts = root.locator(".dlw-facts")
        self.progress = root.locator(".dlw-progress")
        self.notice = root.locator(".dlw-notice")
        self.stop = root.get_by_role("button", name="Stop")
        self.done_marks = root.locator(".dlw-strip .dlw-is-done")

    def button(self, name: str) -> Locator:
        """A button of the foot."""
        return self.root.get_by_role("button", name=name, exact=True)

    def pixels(self) -> str:
        """The pixels of the canvas as text that can be compared; empty where there is no picture."""
        return settled(self.root.locator(".dlw-picture"))

    def wait_until_done(self, layers: int = 13) -> None:
        """Wait until all layers are painted."""
        expect(self.progress).to_have_text(f"{layers} layers", timeout=30_000)
        expect(self.done_marks).to_have_count(layers)

    def press(self, key: str) -> None:
        """Press a key on the slider."""
        self.range.press(key)


class Grid(Slider):
    """A TokenAttentionGrid on a page."""

    def __init__(self, root: Locator) -> None:
        super().__init__(root)
        self.picture = root.locator(".dlw-frame")
        self.pinned = root.locator(".dlw-chip:is(.dlw-hue-0, .dlw-hue-1)")
        self.scales = root.locator(".dlw-scale-line")
        self.range_note = root.locator(".dlw-range-note")
        self.value = root.locator(".dlw-value")
        self.cells = root.get_by_role("gridcell")
        self.row_heads = root.get_by_role("rowheader")
        self.opacity = root.get_by_role("slider", name="Opacity of the maps")

    def chip(self, word: str) -> Locator:
        """A word of the caption."""
        return self.root.locator(".dlw-chip").get_by_text(word, exact=True)

    def head(self, word: str) -> Locator:
        """The head of a word's column."""
        return self.root.get_by_role("columnheader", name=word, exact=True)

    def heat(self) -> str:
        """The pixels of the map over the large picture as text; empty where there is none."""
        return settled(self.picture.locator(".dlw-heat"))

    def point_at(self, target: Locator, across: float, down: float) -> None:
        """Hover over a point of a picture; `across` and `down` are 0..1."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None
        target.hover(position={"x": across * box["width"], "y": down * box["height"]})


def settled(canvas: Locator) -> str:
    """The pixels of a canvas, once its picture is decoded and two looks at it give the same."""
    return str(canvas.evaluate(_SETTLED))
