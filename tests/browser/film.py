"""Films the Microscope at work on the embedded model, in JupyterLab, for the README: python film.py OUT.webp.

A run of the real model, with the weights that the package has today; so make it again when they change.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageChops
from playwright.sync_api import Locator, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browser import lab
from browser.test_microscope import Scope

PROMPT = "a pink cat on a blue background"
CELL = "from difflens_widgets import DiffusionLens, Microscope\n\nMicroscope(DiffusionLens.from_pretrained())"
LIMIT = 600_000  # bytes
WIDTH = 640  # pixels of the film
HIGHEST = 840  # pixels of the page that are filmed
SECONDS = 40  # of painting that are filmed at most


class Film:
    """Screenshots of one part of a page, each with the milliseconds that it is shown."""

    def __init__(self, root: Locator, margin: int = 8) -> None:
        self._page, self._root, self._margin = root.page, root, margin
        self._height = 0.0  # of the page's part, where it was highest
        self.frames: list[Image.Image] = []
        self.durations: list[int] = []

    def shoot(self, milliseconds: int) -> None:
        """Add a frame; if nothing has changed, the last one stays longer."""
        box = self._root.bounding_box()
        assert box is not None
        self._height = max(self._height, box["height"] + 2 * self._margin)
        left, top = max(0, box["x"] - self._margin), max(0, box["y"] - self._margin)
        clip = {"x": left, "y": top, "width": box["width"] + 2 * self._margin, "height": HIGHEST}
        image = Image.open(io.BytesIO(self._page.screenshot(clip=clip))).convert("RGB")  # type: ignore[arg-type]
        if self.frames and ImageChops.difference(image, self.frames[-1]).getbbox() is None:
            self.durations[-1] += milliseconds
        else:
            self.frames.append(image)
            self.durations.append(milliseconds)

    def save(self, path: Path) -> int:
        """Write the film as WebP, as good as `LIMIT` allows; returns the bytes."""
        wide, high = self.frames[0].width, round(min(self._height, HIGHEST))
        size = (WIDTH, round(WIDTH * high / wide))
        first, *others = (
            frame.crop((0, 0, wide, high)).resize(size, Image.Resampling.LANCZOS) for frame in self.frames
        )
        for quality in (80, 65, 50, 35, 20):
            buffer = io.BytesIO()
            options = {"save_all": True, "append_images": others, "duration": self.durations, "loop": 0}
            first.save(buffer, "WEBP", quality=quality, method=6, minimize_size=True, **options)
            if buffer.tell() <= LIMIT:
                break
        path.write_bytes(buffer.getvalue())
        return buffer.tell()


def act(scope: Scope, film: Film) -> None:
    """Type a prompt, watch it being painted, go through the layers, and see where a word looks."""
    film.shoot(800)
    for end in range(4, len(PROMPT) + 4, 4):
        scope.prompt.fill(PROMPT[:end])
        film.shoot(120)
    scope.prompt.press("Enter")
    expect(scope.stop).to_be_visible(timeout=30_000)
    until = time.monotonic() + SECONDS
    while scope.stop.is_visible() and time.monotonic() < until:
        film.shoot(200)
        scope.root.page.wait_for_timeout(300)
    scope.part().wait_until_done()
    film.shoot(1200)
    scope.part().press("Home")
    for _ in range(12):
        film.shoot(350)
        scope.part().press("ArrowRight")
        scope.root.page.wait_for_timeout(150)
    film.shoot(1500)
    scope.tab("Attention").click()
    scope.parts.first.get_by_role("columnheader", name="cat", exact=True).click()
    scope.root.page.mouse.move(0, 0)
    scope.root.page.wait_for_timeout(800)
    film.shoot(3000)


def main() -> None:
    """Write the film."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        server = lab.LabServer(Path(work))
        try:
            server.write("film.ipynb", [CELL])
            page = lab.launch(playwright).new_page(viewport={"width": 1120, "height": 1200})
            notebook = lab.Notebook(page, server, "film.ipynb")
            notebook.wait_for_kernel()
            notebook.run_cell(0)
            scope = Scope(notebook.panel.locator(".dlw-scope").first)
            scope.prompt.wait_for(timeout=60_000)
            film = Film(scope.root)
            act(scope, film)
            size = film.save(out)
        finally:
            server.close()
    sys.stdout.write(f"{size / 1000:.0f} KB, {len(film.frames)} frames, {sum(film.durations) / 1000:.0f} s: {out}\n")


if __name__ == "__main__":
    main()
