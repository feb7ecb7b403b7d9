"""Drives all widgets in Notebook 7, Voilà and marimo: python places.py FOLDER [PLACE...].

Prints what each widget did and writes a picture of it. Needs `pip install notebook voila marimo`, or those of them that
are asked for. JupyterLab has tests of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Error, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browser import lab
from browser.test_microscope import Scope
from difflens_widgets.cli.bench_channel.lab_server import free_port

IMPORTS = f"""import sys
sys.path.append({str(lab.FOLDER)!r})
import microscope, scripted, training
from difflens_widgets import DiffViewer, EpochScrubber, LayerSlider, TokenAttentionGrid"""
WIDGETS = {
    "LayerSlider": "LayerSlider(scripted.job(seconds=2))",
    "TokenAttentionGrid": "TokenAttentionGrid(scripted.finished_run(attention=scripted.AttentionOptions()))",
    "DiffViewer": "DiffViewer(scripted.comparison(size=64))",
    "EpochScrubber": "EpochScrubber(training.finished())",
    "Microscope": "microscope.scope('a pink cat')",
    "Microscope, started before": "microscope.started('a pink cat')",
}
LIVE = ("LayerSlider", "Microscope", "Microscope, started before")
AXIS = ".dlw-film .dlw-range, [role=gridcell][tabindex='0']"
KEYS = {"TokenAttentionGrid": "ArrowUp", "EpochScrubber": "ArrowUp"}  # to another layer
FOCUSED = "root => root.getRootNode().activeElement.matches('.dlw-range, .dlw-current')"
NAMES = "mo, microscope, scripted, training, DiffViewer, EpochScrubber, LayerSlider, TokenAttentionGrid"
COMMANDS = {
    "notebook": ["notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--IdentityProvider.token=place"],
    "voila": ["voila", "widgets.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"],
    "marimo": ["marimo", "run", "widgets.py", "--headless", "--host=127.0.0.1", "--no-token"],
}
ADDRESSES = {"notebook": "notebooks/widgets.ipynb?token=place"}


def write(folder: Path) -> None:
    """The same widgets as a notebook and as a marimo app."""
    cells = [nbformat.v4.new_code_cell(code) for code in (IMPORTS, *WIDGETS.values())]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "widgets.ipynb")
    parts = ["import marimo\n\napp = marimo.App()"]
    imports = textwrap.indent(f"import marimo as mo\n{IMPORTS}\nreturn {NAMES}", "    ")
    parts.append(f"@app.cell\ndef _():\n{imports}")
    parts += [f"@app.cell\ndef _({NAMES}):\n    mo.ui.anywidget({code})\n    return" for code in WIDGETS.values()]
    parts.append('if __name__ == "__main__":\n    app.run()')
    (folder / "widgets.py").write_text("\n\n\n".join(parts) + "\n", "utf-8")


@contextmanager
def server(place: str, folder: Path) -> Iterator[str]:
    """The running place; gives the address to open."""
    port = free_port()
    own = {name: str(folder / "own") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {"XDG_CONFIG_HOME": str(folder / "own"), "XDG_CACHE_HOME": str(folder / "own"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *COMMANDS[place], f"--port={port}"]
    with (folder / f"{place}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(address, timeout=120).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.5)
        yield address + ADDRESSES.get(place, "")
    finally:
        process.terminate()
        process.wait(20)


def run_cells(page: Page) -> None:
    """Run every cell of Notebook 7; the others run them themselves."""
    page.locator(".jp-Cell").first.wait_for(timeout=60_000)
    page.wait_for_timeout(4_000)
    for cell in page.locator(".jp-CodeCell .cm-content").all():
        cell.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(500)


def drive(page: Page, place: str, folder: Path) -> Iterator[str]:
    """Move every widget by keyboard, and run a prompt in the Microscope; yields what each did."""
    roots = page.locator(".dlw-root:not(.dlw-part .dlw-root)")
    expect(roots).to_have_count(len(WIDGETS), timeout=120_000)
    lab.Slider(roots.first).wait_until_done()
    scope = Scope(page.locator(".dlw-scope").first)
    scope.prompt.fill("a blue dog")
    scope.prompt.press("Enter")
    for name, root in zip(WIDGETS, roots.all(), strict=True):
        shown = root.locator(".dlw-part .dlw-root").first if name.startswith("Microscope") else root
        widget = lab.Slider(shown)
        root.scroll_into_view_if_needed()
        try:
            if name in LIVE:
                widget.wait_until_done()
            picture = shown.locator(".dlw-picture:visible").first
            before, pixels = widget.facts.inner_text(), lab.settled(picture)
            shown.locator(AXIS).locator("visible=true").first.press(KEYS.get(name, "ArrowLeft"))
            expect(widget.facts).not_to_have_text(before)
            assert len({"", pixels, lab.settled(picture)}) == 3, "the picture did not change"
            assert shown.evaluate(FOCUSED), "the keyboard is not where the frame is"
            how = "painted live, " if name in LIVE else ""
            yield f"{name}: {how}moved by keyboard: {widget.facts.inner_text()[:60]}"
        except (AssertionError, Error) as error:
            yield f"{name}: FAILED: {' '.join(str(error).split())[:200]}"
        page.wait_for_timeout(300)
        root.screenshot(path=folder / f"{place}-{name}.png")


def main() -> None:
    """Drive the places, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("places", nargs="*", default=list(COMMANDS))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    folder = asked.folder.resolve()
    write(folder)
    with sync_playwright() as playwright:
        browser = lab.launch(playwright)
        for place in asked.places:
            page = browser.new_page(viewport={"width": 1200, "height": 1000})
            page.on("pageerror", lambda error, place=place: sys.stdout.write(f"{place}: error on the page: {error}\n"))
            with server(place, folder) as address:
                try:
                    page.goto(address, timeout=180_000)
                    if place == "notebook":
                        run_cells(page)
                    for found in drive(page, place, folder):
                        sys.stdout.write(f"{place}: {found}\n")
                except (AssertionError, Error) as error:
                    sys.stdout.write(f"{place}: FAILED: {error}\n")
                page.close()


if __name__ == "__main__":
    main()
