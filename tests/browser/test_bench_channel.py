"""`difflens bench channel`: its probe in a page of known delays, and the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from difflens_widgets.cli import bench_channel
from difflens_widgets.cli.bench_channel import bench

PROBE = Path(bench_channel.__file__).parent / "probe.js"
PAGE = """<input type=range max=9 value=0>
<canvas class=dlw-picture width=64 height=64></canvas><canvas id=small></canvas>
<script>
  const range = document.querySelector("input");
  const draw = (of) => of.getContext("2d").drawImage(new OffscreenCanvas(8, 8), 0, 0);
  const big = document.querySelector(".dlw-picture");
  window.how = "at once";
  range.oninput = () => {
    draw(document.getElementById("small"));
    if (how === "at once") requestAnimationFrame(() => Promise.resolve().then(() => draw(big)));
    if (how === "late") setTimeout(() => draw(big), 300);
  };
</script>"""


@pytest.fixture
def page(browser: Browser, tmp_path: Path):
    (tmp_path / "page.html").write_text(PAGE, "utf-8")
    page = browser.new_page()
    page.add_init_script(path=str(PROBE))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("input").focus()
    yield page
    page.close()


def test_a_key_is_timed_until_its_large_picture_is_painted(page) -> None:
    quick = sorted(bench._timed(page, "ArrowRight") for _ in range(5))
    page.evaluate("how = 'late'")
    late = bench._timed(page, "ArrowRight")
    assert 0 < quick[0] < 150 < 300 <= late < 2000


def test_bitmaps_and_addresses_are_counted_until_they_are_given_back(page) -> None:
    page.evaluate("""async () => {
      const made = await Promise.all([64, 32, 16].map(side => createImageBitmap(new ImageData(side, side))));
      made[0].close();
      made[0].close();
      window.kept = made;
      const address = URL.createObjectURL(new Blob(["a"]));
      URL.createObjectURL(new Blob(["b"]));
      URL.revokeObjectURL(address);
    }""")
    found = page.evaluate(
        "({ bitmaps, pixels, mostBitmaps, mostPixels, urls } = difflensProbe, "
        "[bitmaps, pixels, mostBitmaps, mostPixels, urls])"
    )
    assert found == [2, 32**2 + 16**2, 3, 64**2 + 32**2 + 16**2, 1]


def test_the_bare_slider_is_timed_and_taken_away(page) -> None:
    page.evaluate("difflensProbe.bare(64, 3)")
    assert 0 < bench._timed(page, "ArrowRight") < 2000
    page.evaluate("difflensProbe.endBare()")
    assert page.locator("input").count() == 1


@pytest.mark.slow
def test_the_whole_of_it(browser: Browser, tmp_path: Path) -> None:
    """In a process of its own: playwright runs once in a thread."""
    file = tmp_path / "figures.json"
    program = "import sys; from difflens_widgets.cli import main; sys.exit(main())"
    command = ["bench", "channel", "--repeats", "1", "--minutes", "0.05", "--json", str(file)]
    subprocess.run([sys.executable, "-c", program, *command], check=True, timeout=400)
    rows = {row["name"]: row for row in json.loads(file.read_text("utf-8"))["rows"] if "name" in row}
    assert rows["finished frame"]["most"] <= 45
    assert rows["frames sent"]["median"] >= 13
    for axis in bench._AXES:
        assert 0 < rows[f"slider → paint, {axis}"]["p50"] < 5000
    assert rows["most bitmaps"]["megabytes"] <= 2 * 64 + 1  # each widget closes the least recently used
    for widget in bench._WIDGETS:
        assert rows[f"{widget}, keys"]["median"] > 0
        assert rows[f"{widget}, DOM nodes"]["change"] < 300
        assert rows[f"{widget}, blob URLs"]["after"] == 0


def test_a_notebook_that_fails_says_why(browser: Browser, server, monkeypatch) -> None:
    monkeypatch.setattr(bench, "_PATIENCE", 100)
    monkeypatch.setattr(bench, "CELLS", ["raise FileNotFoundError('no photograph here')"])
    page = browser.new_page()
    try:
        with pytest.raises(OSError, match="the notebook failed: FileNotFoundError: no photograph here"):
            bench._open(page, server)
    finally:
        page.close()
        server.end_kernels()
