"""Every widget in JupyterLab for who uses the keyboard, a screen reader, a large zoom, a phone, or own colors.

All widgets are in one notebook, opened once.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Locator, Page, expect

from browser import lab
from browser.test_page import barriers

PROMPT = "a photo of chameleons beside a pink cat"
STEPS = "attention=scripted.AttentionOptions(steps=[0, 10])"
IMPORTS = "import microscope, training; from difflens_widgets import DiffViewer, EpochScrubber"
CELLS = {
    "LayerSlider": f"LayerSlider(scripted.finished_run({PROMPT!r}, snapshots=range(0, 20, 5), words=['pink', 'cat']))",
    "TokenAttentionGrid": f"g = TokenAttentionGrid(scripted.finished_run({PROMPT!r}, {STEPS})); "
    "g.selected_tokens = ['pink', 'cat']; g",
    "DiffViewer": "d = DiffViewer(scripted.comparison()); d.mode = 'curtain'; d",
    "EpochScrubber": "EpochScrubber(training.finished())",
    "Microscope": "m = microscope.scope('a pink cat', seconds=0.1); m.view = 'compare'; "
    "m.second_prompt = 'a green cat'; m.start().result(); m",
    "empty": "LayerSlider()",
    "running": "LayerSlider(scripted.job(seconds=0.2, hold_after=4))",
}
WIDGETS = [name for name in CELLS if name not in ("empty", "running")]
WINDOW = {"width": 1280, "height": 1000}
NARROW = [{"width": 640, "height": 500}, {"width": 400, "height": 800}]  # a zoom of 200 %; a phone
KINDS = [
    "[role=tab][aria-selected=true], .dlw-button[aria-pressed=true], .dlw-current .dlw-box",
    "[role=tab][aria-selected=false], .dlw-button[aria-pressed=false], .dlw-chip-quiet",
    ".dlw-range",
    ".dlw-icon",
]
"""What is chosen, what is not, the sliders, the pictures on buttons."""

# what of a widget is not seen: it is wider than its place, a control is beyond its edge, a caption is cut
_CUT = """root => {
  const { left, right } = root.getBoundingClientRect();
  const name = (el) => (el.getAttribute("aria-label") ?? (el.textContent.trim() || el.className)).slice(0, 40);
  const found = right > innerWidth || left < 0 ? [`the widget goes from ${left} to ${right} of ${innerWidth}`] : [];
  for (let at = root; !at.matches(".jp-Notebook"); at = at.parentElement) {
    const hides = at === root || getComputedStyle(at).overflowX !== "visible";
    if (hides && at.scrollWidth > at.clientWidth) found.push(`${at.className}: ${at.scrollWidth} of ${at.clientWidth}`);
  }
  for (const el of root.querySelectorAll("button, select, input, canvas, span, b, h4, p, .dlw-facts, .dlw-legend")) {
    const box = el.getBoundingClientRect();
    if (!box.width || el.closest(".dlw-film, .dlw-grid, .dlw-live")) continue; // these scroll
    const out = box.left < left - 0.5 || box.right > right + 0.5;
    if (out) found.push(`${name(el)}: from ${box.left} to ${box.right} of ${left} to ${right}`);
    if (el.matches("button") && el.scrollWidth > el.clientWidth) found.push(`${name(el)}: its caption is cut`);
  }
  return found;
}"""
_DOWN_TO_AXIS = """root => {
  const { top } = root.getBoundingClientRect();
  const seen = (kind) => [...root.querySelectorAll(kind)].filter((el) => el.checkVisibility());
  const axes = seen(".dlw-film").length ? seen(".dlw-film") : seen(".dlw-grid");
  if (!axes.length) throw new Error("no axis is seen");
  const bottoms = axes.map((el) => el.getBoundingClientRect().bottom - top);
  return [Math.max(...bottoms), root.closest(".jp-WindowedPanel-outer").clientHeight];
}"""
_CONTROLS = """root => {
  const controls = [...root.querySelectorAll("button, select, input, [tabindex]")]
    .filter((el) => el.tabIndex >= 0 && !el.disabled && el.checkVisibility({ visibilityProperty: true }));
  controls[0].focus();
  return controls.length;
}"""
_FOCUS = """root => {
  const el = document.activeElement;
  if (!root.contains(el)) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(el);
  const { x, y, width, height } = el.getBoundingClientRect();
  const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 1;
  const clip = { x: x - 4, y: y - 4, width: width + 8, height: height + 8 };
  return { outlined, clip, name: el.getAttribute("aria-label") ?? el.textContent };
}"""


_BOXES = """(root, kind) => [...root.querySelectorAll(kind)]
  .filter((el) => el.checkVisibility({ visibilityProperty: true }))
  .map((el) => el.getBoundingClientRect())
  .filter(({ top, bottom }) => top > 0 && bottom < innerHeight)
  .map(({ left, top, right, bottom }) => [Math.floor(left), Math.floor(top), Math.ceil(right), Math.ceil(bottom)])"""
_COLOR = """(root, name) => {
  const probe = root.appendChild(document.createElement("i"));
  probe.style.color = name;
  const color = getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
  probe.remove();
  return color;
}"""


@pytest.fixture(scope="module")
def notebook(browser: Browser, server: lab.LabServer) -> Iterator[lab.Notebook]:
    """A notebook with all widgets, its cells executed."""
    server.write("access.ipynb", [lab.SETUP, IMPORTS, *CELLS.values()])
    context = browser.new_context(viewport=WINDOW)
    notebook = lab.Notebook(context.new_page(), server, "access.ipynb")
    notebook.wait_for_kernel()
    for index in range(2 + len(CELLS)):
        notebook.run_cell(index)
    notebook.page.keyboard.press("Control+b")  # the list of files takes half of a narrow window
    yield notebook
    context.close()
    server.end_kernels()


def root_of(notebook: lab.Notebook, widget: str) -> Locator:
    """The widget, scrolled to, with its pictures."""
    root = notebook.output(2 + list(CELLS).index(widget)).locator(".dlw-root").first
    root.scroll_into_view_if_needed()
    if widget != "empty":
        root.locator("canvas.dlw-picture").first.wait_for()
    return root


def look(page: Page, **area: object) -> Image.Image:
    """A screenshot."""
    return Image.open(io.BytesIO(page.screenshot(**area))).convert("RGB")


def walk(page: Page, root: Locator) -> list[str]:
    """Go through a widget with Tab, and out at both ends; returns the controls whose focus is not seen."""
    count = root.evaluate(_CONTROLS)
    page.keyboard.press("Shift+Tab")
    assert root.evaluate(_FOCUS) is None, "Shift+Tab does not leave the widget"
    root.evaluate(_CONTROLS)
    unseen, passed = [], 0
    while focus := root.evaluate(_FOCUS):
        passed += 1
        assert passed <= count, f"Tab comes to {focus['name']} once more"
        with_focus = None if focus["outlined"] else look(page, clip=focus["clip"])
        page.keyboard.press("Tab")
        if with_focus is not None and look(page, clip=focus["clip"]).tobytes() == with_focus.tobytes():
            unseen.append(focus["name"])
    assert passed == count, f"Tab passes {passed} of {count} controls"
    return unseen


def has(image: Image.Image, color: list[int]) -> bool:
    """Whether an image has more than a few pixels of a color, of which four fifths cover what is beneath."""
    near = [
        band.point([255 * (0.8 * of - 2 <= value <= 0.8 * of + 53) for value in range(256)])
        for band, of in zip(image.split(), color, strict=True)
    ]
    return ImageChops.darker(ImageChops.darker(near[0], near[1]), near[2]).histogram()[255] > 12


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_widget_keeps_nobody_out(notebook: lab.Notebook, widget: str) -> None:
    """Screen reader, keyboard, zoom, phone, and the colors of high contrast."""
    page = notebook.page
    root = root_of(notebook, widget)
    assert barriers(page, root.element_handle()) == []
    assert walk(page, root) == []

    question = root.get_by_role("button", name="Help").first
    question.click()
    instrument = root.locator(".dlw-help:visible").locator("..")
    expect(instrument.get_by_role("button", name="Close")).to_be_focused()
    assert barriers(page, root.locator(".dlw-help:visible").element_handle()) == []
    page.keyboard.press("Tab")
    assert instrument.evaluate(_FOCUS) is None, "the focus is beneath the help"
    instrument.get_by_role("button", name="Close").press("Escape")
    expect(question).to_be_focused()

    for size in NARROW:
        page.set_viewport_size(size)
        root_of(notebook, widget)
        page.wait_for_timeout(100)  # observers of sizes
        assert root.evaluate(_CUT) == [], size
    page.set_viewport_size(WINDOW)

    for scheme in ("light", "dark"):
        page.emulate_media(forced_colors="active", color_scheme=scheme)
        root_of(notebook, widget)
        highlight = root.evaluate(_COLOR, "Highlight")
        image = look(page)
        chosen, others, knobs, icons = ([image.crop(box) for box in root.evaluate(_BOXES, each)] for each in KINDS)
        assert [has(each, highlight) for each in chosen] == [True] * len(chosen) != []
        assert [has(each, highlight) for each in others] == [False] * len(others) != []
        assert [has(each, highlight) for each in knobs] == [True] * len(knobs)
        assert all(len(each.convert("L").getcolors()) > 1 for each in icons)
    page.emulate_media(forced_colors="none", color_scheme="light")


@pytest.mark.parametrize("widget", WIDGETS)
def test_the_axis_is_seen_below_the_picture(notebook: lab.Notebook, widget: str) -> None:
    """On the screen of a laptop too: who scrubs does not scroll."""
    tabs = ["Layers", "Attention", "Compare"] if widget == "Microscope" else [""]
    for height in (950, 768):
        notebook.page.set_viewport_size({**WINDOW, "height": height})
        root = root_of(notebook, widget)
        for tab in tabs:
            if tab:
                root.get_by_role("tab", name=tab).click()
                root.locator("canvas.dlw-picture").first.wait_for()
            notebook.page.wait_for_timeout(100)
            needed, there = root.evaluate(_DOWN_TO_AXIS)
            assert needed <= there, f"{tab}: {needed} pixels down to the axis, {there} in a window of {height}"
    notebook.page.set_viewport_size(WINDOW)


def test_nothing_moves_where_motion_is_not_wanted(notebook: lab.Notebook) -> None:
    root = root_of(notebook, "running")
    expect(root.locator(".dlw-is-running").first).to_be_visible()
    moving = "root => root.getAnimations({ subtree: true }).length"
    assert root.evaluate(moving) > 0
    notebook.page.emulate_media(reduced_motion="reduce")
    assert root.evaluate(moving) == 0
    notebook.page.emulate_media(reduced_motion="no-preference")


def test_words_stand_where_the_picture_will_be(notebook: lab.Notebook) -> None:
    root = root_of(notebook, "empty")
    expect(root.locator(".dlw-hole")).to_contain_text("Nothing yet")
    boxes = [root.locator(part).bounding_box() for part in (".dlw-stage", ".dlw-frame", ".dlw-hole")]
    assert len({(box["y"], box["height"]) for box in boxes if box}) == 1
