"""Drives the widgets in JupyterLab, and measures the page and what the kernel sent to it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..rows import Row, measured
from .lab_server import CHROMIUM_FLAGS, LabServer, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

CELLS = (
    "from difflens_widgets.cli.bench_channel import in_kernel",
    "in_kernel.scrubber()",
    "slider = in_kernel.run_slider()\nin_kernel.figures(slider)\nslider",
)
_NAME = "channel.ipynb"
_PATIENCE = 240  # seconds for the kernel to paint and to send
_SETTLE = 4000  # ms: the notebook renders a widget again when its still picture is written
_BARE = 13  # pictures of the slider that does nothing else

_ERRORS = """() => jupyterapp.shell.currentWidget.content.widgets
  .flatMap(({ model }) => model.outputs?.toJSON() ?? [])
  .filter((output) => output.output_type === "error")
  .map(({ ename, evalue }) => `${ename}: ${evalue}`)"""

_FILM = (".dlw-root:not(.dlw-scrub)", ".dlw-film .dlw-range")
_MATRIX = (".dlw-scrub", "[role=gridcell][tabindex='0']")
_AXES = {
    "layers": (_FILM, ["ArrowLeft"] * 12 + ["ArrowRight"] * 12),
    "steps": (_FILM, ["ArrowDown"] * 20 + ["ArrowUp"] * 20),
    "epochs × layers": (_MATRIX, ["ArrowLeft"] * 7 + ["ArrowUp"] * 12 + ["ArrowRight"] * 7 + ["ArrowDown"] * 12),
}
"""axis → where the keys are pressed, and keys that each change the picture and end where they began"""
_WIDGETS = {"LayerSlider": ["layers", "steps"], "EpochScrubber": ["epochs × layers"]}


def bench_channel(repeats: int, minutes: float) -> Iterator[Row]:
    """Measure a LayerSlider of 13 layers × 20 snapshots of 512 × 512 and an EpochScrubber of 8 epochs × 13 layers.

    A key is timed from its event to the end of the frame that shows its picture, in turns with a bare slider that only
    draws a bitmap, which is what the browser itself needs. Then the keys are pressed without a pause, and the page's
    memory before and after is compared.

    Parameters
    ----------
    repeats : int
        How often each axis is gone through and back, ≥ 1.
    minutes : float
        How long the keys are pressed for the comparison of memory, > 0.

    Raises
    ------
    ValueError
        For arguments that cannot work, or if playwright, JupyterLab or Chromium is not installed.
    OSError
        If JupyterLab does not start, or a widget does not draw.
    """
    if repeats < 1:
        raise ValueError(f"repeats: {repeats} must be at least 1")
    if not 0 < minutes < 24 * 60:
        raise ValueError(f"--minutes: {minutes} must be more than 0, and less than a day")
    chromium = require_browser()
    return _measure(chromium, repeats, minutes)


def require_browser() -> str:
    """The path of the installed Chromium.

    Raises
    ------
    ValueError
        If it or one of the packages that drive it is missing; says how to get it.
    """
    missing = []
    for package in ("playwright", "jupyterlab"):
        try:
            __import__(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise ValueError(f"this measurement drives JupyterLab in a browser: pip install {' '.join(missing)}")
    chromium = find_chromium()
    if chromium is None:
        raise ValueError(
            "no browser was found: install Chromium or Chrome, as `chromium`, `chromium-browser` or `google-chrome`"
        )
    return chromium


def _measure(chromium: str, repeats: int, minutes: float) -> Iterator[Row]:
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="difflens-bench-")))
        server = LabServer(folder / "lab")
        stack.callback(server.close)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        stack.callback(browser.close)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.add_init_script(path=str(Path(__file__).parent / "probe.js"))
        sent = _open(page, server)
        about = f"{sent['layers']} layers × {sent['snapshots']} snapshots of 512 × 512, {sent['epochs']} epochs"
        yield Row(
            f"{about}; JupyterLab in Chromium {browser.version}", "browser", "", figures={"version": browser.version}
        )
        yield from _sent(sent)
        for axis, times in _in_turns(page, repeats).items():
            yield _latency(axis, times)
        yield from _memory(page, minutes)


def _open(page: Page, server: LabServer) -> dict[str, Any]:
    """Run the notebook, and wait until its job has painted; returns what the kernel says of it."""
    server.write(_NAME, CELLS)
    page.goto(server.page_address(_NAME))
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=60_000)
    deadline = time.monotonic() + _PATIENCE

    def wait(what: str) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {_PATIENCE} s")
        page.wait_for_timeout(100)  # and not `sleep`, which would hold up the page's events

    while not server.kernel_is_ready(_NAME):
        wait("the kernel did not start")
    page.evaluate("() => void jupyterapp.commands.execute('notebook:run-all-cells')")
    file = server.notebooks / "figures.json"
    while not file.exists():
        if errors := page.evaluate(_ERRORS):
            raise OSError(f"the notebook failed: {errors[0]}")
        wait("the run did not end")
    page.wait_for_timeout(_SETTLE)
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    if found["status"] != "done":
        raise OSError(f"the run in the notebook is {found['status']}")
    return found


def _sent(sent: dict[str, Any]) -> Iterator[Row]:
    sizes = [size / 1000 for size in sent["finished"]]
    yield measured("finished frame", sizes, "KB", digits=1)
    frames, total = sent["frames"], sent["bytes"] / 1e6
    previews = f"{sent['previews_sent']} of {sent['previews']} previews, {frames - sent['previews_sent']} others"
    text = f"frames sent      {frames:14.0f}     ({total:.1f} MB in {sent['seconds']:.0f} s: {previews})"
    figures = {name: sent[name] for name in ("previews", "previews_sent", "seconds", "bytes")}
    yield Row(text, "frames sent", "frames", [frames], figures)
    last = sent["bytes_at_end"] / 1e6
    yield Row(
        f"sent at the end  {last:14.1f} MB  (all finished pictures, for the notebook)", "sent at the end", "MB", [last]
    )


def _in_turns(page: Page, repeats: int) -> dict[str, list[float]]:
    """Milliseconds from each key to its picture, by axis."""
    times: dict[str, list[float]] = {"bare slider": [], **{axis: [] for axis in _AXES}}
    for _ in range(repeats):
        page.evaluate("count => difflensProbe.bare(512, count)", _BARE)
        times["bare slider"] += [
            _timed(page, key) for key in ["ArrowRight"] * (_BARE - 1) + ["ArrowLeft"] * (_BARE - 1)
        ]
        page.evaluate("difflensProbe.endBare()")
        for axis, (where, keys) in _AXES.items():
            _focus(page, where)
            times[axis] += [_timed(page, key) for key in keys]
    return times


def _focus(page: Page, where: Sequence[str]) -> None:
    target = page.locator(where[0]).locator(where[1]).first
    target.scroll_into_view_if_needed()
    target.focus()


def _timed(page: Page, key: str) -> float:
    page.evaluate("difflensProbe.expect()")
    page.keyboard.press(key)
    found = page.evaluate("Promise.race([difflensProbe.painted, new Promise(end => setTimeout(end, 10000, null))])")
    if found is None:
        raise OSError(f"the widget drew nothing within 10 s after {key}")
    return float(found)


def _latency(axis: str, times: Sequence[float]) -> Row:
    p50, p95 = (float(np.percentile(times, percent)) for percent in (50, 95))
    name = axis if axis == "bare slider" else f"slider → paint, {axis}"
    text = f"{name:<31} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   ({len(times)} keys, most {max(times):.1f})"
    return Row(text, name, "ms", times, {"p50": p50, "p95": p95})


def _memory(page: Page, minutes: float) -> Iterator[Row]:
    """The page before and after the keys were pressed, half of the time on each widget.

    The focus stays on one widget meanwhile: JupyterLab itself keeps 260 nodes whenever another cell becomes active.
    """
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def look() -> dict[str, float]:
        for _ in range(2):
            session.send("HeapProfiler.collectGarbage")
            page.wait_for_timeout(500)
        metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
        probe = page.evaluate("({ bitmaps, urls } = difflensProbe, { bitmaps, urls })")
        return {
            "JS heap": metrics["JSHeapUsedSize"] / 1e6,
            "DOM nodes": metrics["Nodes"],
            "listeners": metrics["JSEventListeners"],
            "bitmaps": probe["bitmaps"],
            "blob URLs": probe["urls"],
        }

    for widget, axes in _WIDGETS.items():
        keys = [key for axis in axes for key in _AXES[axis][1]]
        _focus(page, _AXES[axes[0]][0])
        _press(page, keys)
        before = look()
        pressed, began = 0, time.monotonic()
        while time.monotonic() - began < 30 * minutes:
            pressed += _press(page, keys)
        spent = time.monotonic() - began
        yield Row(f"{widget}, {pressed} keys in {spent:.0f} s:", f"{widget}, keys", "", [pressed], {"seconds": spent})
        for name, now in look().items():
            unit, digits = ("MB", 1) if name == "JS heap" else ("", 0)
            change = now - before[name]
            text = f"  {name:<14} {before[name]:8.{digits}f} → {now:8.{digits}f} {unit:<2}  ({change:+.{digits}f})"
            yield Row(text, f"{widget}, {name}", unit, figures={"before": before[name], "after": now, "change": change})
    most = page.evaluate("[difflensProbe.mostBitmaps, difflensProbe.mostPixels * 4 / 1e6]")
    text = f"most bitmaps     {most[0]:14.0f}     ({most[1]:.0f} MB decoded at a time, of both widgets)"
    yield Row(text, "most bitmaps", "", [most[0]], {"megabytes": most[1]})


def _press(page: Page, keys: Sequence[str]) -> int:
    """Press keys without a pause; returns how many."""
    for key in keys:
        page.keyboard.press(key)
    return len(keys)
