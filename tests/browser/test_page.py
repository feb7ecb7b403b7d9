"""Pages of their own, in a real Chromium: offline, every widget works; a prompt never becomes part of the program.

Also pages in the outputs of a saved notebook: in JupyterLab, trusted or not, and in what nbconvert makes of it.
"""

from __future__ import annotations

import base64
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, ElementHandle, Frame, Page, expect

from browser import scripted, training
from difflens_widgets import to_html
from difflens_widgets.runs.render.page import document
from drawn_runs import attention_run, drawn_run, picture

HOSTILE = (
    "a cat </script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> --></title></style>"
    "{{data}} \u2028 \u2029 \\u003c \"double\" 'single' &lt;b&gt; \ud800 ]]> ${alert(3)} `tick`"
)


@dataclass
class Opened:
    """A page and everything it did that a quiet page does not do."""

    page: Page
    noise: list[str] = field(default_factory=list)

    def canvas(self, number: int = 0) -> Image.Image:
        """What the big picture of a slider shows."""
        canvas = self.page.locator(".view .dlw-frame:not([aria-busy]) canvas.dlw-picture").nth(number)
        data = canvas.evaluate("canvas => canvas.toDataURL().split(',')[1]")
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def shows(seen: Image.Image, painted: Image.Image) -> bool:
    """The same picture, but for what a lossy encoding changes."""
    return seen.size == painted.size and max(ImageStat.Stat(ImageChops.difference(seen, painted)).mean) < 8


def visit(browser: Browser, path: Path, **context: Any) -> Opened:
    """Open a file without network, and note requests, errors and dialogs."""
    context = browser.new_context(**context)
    context.set_offline(True)
    opened = Opened(context.new_page())

    def on_dialog(dialog: Any) -> None:
        opened.noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def on_request(request: Any) -> None:
        if not request.url.startswith(("file:", "blob:", "data:")):
            opened.noise.append(f"request: {request.url}")

    opened.page.on("console", lambda message: opened.noise.append(f"console: {message.text}"))
    opened.page.on("pageerror", lambda error: opened.noise.append(f"error: {error}"))
    opened.page.on("dialog", on_dialog)
    opened.page.on("request", on_request)
    opened.page.goto(path.as_uri())
    return opened


def loaded(browser: Browser, path: Path, **context: Any) -> Opened:
    opened = visit(browser, path, **context)
    opened.page.locator(".view canvas.dlw-picture").first.wait_for()
    return opened


def test_the_slider_moves_the_picture_offline(browser: Browser, tmp_path: Path) -> None:
    run = drawn_run()
    opened = loaded(browser, run.to_html(tmp_path / "a.html"))
    slider = opened.page.get_by_role("slider", name="Layer")
    slider.focus()
    assert shows(opened.canvas(), run.images[12])
    for layer in (11, 10, 9):
        opened.page.keyboard.press("ArrowLeft")
        opened.page.get_by_text(f"layer {layer} of 12").first.wait_for()
        assert [key for key, image in run.images.items() if shows(opened.canvas(), image)] == [layer]
    opened.page.keyboard.press("Home")
    opened.page.get_by_text("layer 0 of 12").first.wait_for()
    assert slider.get_attribute("aria-valuetext") == "layer 0 of 12"
    assert opened.noise == []


def test_a_hostile_prompt_is_shown_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    run = drawn_run(HOSTILE, depth=3, message="</script>", failures={1: "<b onmouseover=alert(4)>"})
    del run.images[1]
    opened = loaded(browser, to_html([run, run], tmp_path / "a.html", title=HOSTILE))
    shown = " ".join(HOSTILE.split()).replace("\ud800", "?")
    assert opened.page.title() == shown
    assert opened.page.locator("h1").text_content() == shown
    assert opened.page.locator("h2").all_text_contents() == [shown, shown]
    opened.page.get_by_role("button", name="All").click()
    opened.page.locator(".view canvas.dlw-picture").nth(1).wait_for()
    assert opened.page.locator(".view").first.inner_text().count("<script>alert(1)</script>") == 1
    assert opened.page.locator("script").count() == 2
    assert opened.page.locator("img, b, iframe").count() == 0
    assert opened.page.locator(".view canvas.dlw-picture").count() == 2
    opened.page.get_by_role("slider", name="Layer").first.focus()
    opened.page.keyboard.press("ArrowLeft")  # to the layer that failed
    opened.page.get_by_text("<b onmouseover=alert(4)>").first.wait_for()
    assert opened.noise == []


def test_each_slider_of_a_page_is_its_own(browser: Browser, tmp_path: Path) -> None:
    runs = [drawn_run("a cat", depth=4), drawn_run("a dog", depth=4, images={k: picture(50 + k) for k in range(4)})]
    opened = loaded(browser, to_html(runs, tmp_path / "a.html", title="two animals"))
    opened.page.get_by_role("button", name="All").click()
    opened.page.locator(".view canvas.dlw-picture").nth(1).wait_for()
    opened.page.get_by_role("slider", name="Layer").nth(1).focus()
    opened.page.keyboard.press("Home")
    opened.page.get_by_text("layer 0 of 3").first.wait_for()
    assert shows(opened.canvas(0), runs[0].images[3])
    assert shows(opened.canvas(1), runs[1].images[0])
    assert opened.page.locator("h2").all_text_contents() == ["a cat", "a dog"]
    opened.page.get_by_role("button", name="Layers: a cat").click()
    assert opened.page.locator("section:visible").count() == 1
    assert opened.page.locator("h1").text_content() == "two animals"
    assert opened.noise == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_page_and_slider_are_of_one_colour(browser: Browser, tmp_path: Path, scheme: str, dark: bool) -> None:
    opened = loaded(browser, drawn_run(depth=2).to_html(tmp_path / "a.html"), color_scheme=scheme)
    look = "element => getComputedStyle(element).backgroundColor"
    page, slider = (opened.page.locator(name).first.evaluate(look) for name in ("body", ".dlw-root"))
    assert page == slider
    assert (sum(map(int, re.findall(r"\d+", page))) < 200) == dark


AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = """root => axe.run(root ?? document).then(({ violations }) => violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`))"""


def barriers(where: Page | Frame, root: ElementHandle | None = None) -> list[str]:
    """What axe-core finds in a page, or in one element of it, that keeps people out: serious and critical findings."""
    if not AXE.is_file():
        missing = "axe-core is not installed: cd js && npm ci"
        pytest.fail(missing) if os.environ.get("DIFFLENS_REQUIRE_BROWSER") == "1" else pytest.skip(missing)
    where.evaluate(f"{AXE.read_text('utf-8')};0")
    return where.evaluate(SERIOUS, root)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page with every widget."""
    folder = tmp_path_factory.mktemp("everything")
    run = scripted.finished_run(
        "a photo of chameleons beside a pink cat on a blue background",
        snapshots=range(0, 20, 5),
        attention=scripted.AttentionOptions(steps=[0, 10]),
    )
    history = training.finished((0, 100, 350), folder=folder)
    return to_html([run, scripted.comparison(), history], folder / "all.html")


# view, the axis that the keyboard moves, how it says where it stands, and the size of the page's window
VIEWS = [
    ("Layers", "Layer", "layer 11 of 12", {"width": 1100, "height": 900}),
    ("Attention", "Layer", "layer 11 of 12", {"width": 400, "height": 800}),
    ("Raw and tuned", "Layer", "layer 11 of 12", {"width": 400, "height": 800, "color_scheme": "dark"}),
    ("Training", "Epochs and layers", "layer 11 of 12", {"width": 400, "height": 800, "color_scheme": "dark"}),
]


@pytest.mark.parametrize(("name", "axis", "words", "window"), VIEWS, ids=[view[0] for view in VIEWS])
def test_every_view_works_offline_by_keyboard_and_keeps_nobody_out(
    browser: Browser, everything: Path, name: str, axis: str, words: str, window: dict[str, Any]
) -> None:
    """From a file without network: no request, no serious finding of axe-core, nothing wider than a phone."""
    size = {key: value for key, value in window.items() if key != "color_scheme"}
    opened = visit(browser, everything, viewport=size, color_scheme=window.get("color_scheme", "light"))
    page = opened.page
    page.get_by_role("button", name=f"{name}:").press("Enter")
    section = page.locator("section:visible")
    expect(section).to_have_count(1)
    section.locator("canvas.dlw-picture").first.wait_for()
    if name == "Training":
        section.locator("[role=gridcell][tabindex='0']").press("ArrowUp")
    else:
        section.get_by_role("slider", name=axis, exact=True).press("ArrowLeft")
    expect(section.locator(".dlw-facts")).to_contain_text(words)
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert opened.noise == []


def test_the_arrow_keys_work_without_a_click(browser: Browser, tmp_path: Path) -> None:
    opened = loaded(browser, attention_run().to_html(tmp_path / "a.html"))
    expect(opened.page.get_by_role("slider", name="Layer", exact=True)).to_be_focused()
    opened.page.keyboard.press("ArrowLeft")
    expect(opened.page.locator("section:visible .dlw-facts")).to_contain_text("layer 1 of 2")


def test_the_focus_moves_in_a_shadow_tree_too(browser: Browser, everything: Path) -> None:
    """As in marimo, where the document knows the host of the tree alone."""
    opened = loaded(browser, everything)
    page = opened.page
    page.get_by_role("button", name="Training:").press("Enter")
    root = page.locator("section:visible .dlw-root")
    root.locator("[role=gridcell][tabindex='0']").wait_for()
    root.evaluate(
        """root => {
          const host = document.createElement("div");
          root.replaceWith(host);
          host.attachShadow({ mode: "open" }).append(root);
        }"""
    )
    page.locator("[role=gridcell][tabindex='0']:visible").press("ArrowUp")
    expect(page.locator(".dlw-scrub .dlw-facts")).to_contain_text("layer 11 of 12")
    expect(page.locator(".dlw-scrub .dlw-cell.dlw-current")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("button", name="Close").locator("visible=true")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".dlw-scrub .dlw-cell.dlw-current")).to_be_focused()


def test_the_views_of_a_run_go_to_a_layer_together(browser: Browser, tmp_path: Path) -> None:
    opened = loaded(browser, attention_run().to_html(tmp_path / "a.html"))
    opened.page.get_by_role("slider", name="Layer", exact=True).press("Home")
    opened.page.get_by_role("button", name="Attention", exact=True).click()
    expect(opened.page.locator("section:visible .dlw-facts")).to_contain_text("layer 0 of 2")
    opened.page.locator("section:visible").get_by_role("slider", name="Layer", exact=True).press("End")
    opened.page.get_by_role("button", name="Layers", exact=True).click()
    expect(opened.page.locator("section:visible .dlw-facts")).to_contain_text("layer 2 of 2")
    assert opened.noise == []


def test_a_saved_notebook_stays_alive(open_notebook: Any, server: Any, browser: Browser, tmp_path: Path) -> None:
    """Without a kernel: the page scrubs where the notebook is trusted and in nbconvert's; else the picture is there."""
    notebook = open_notebook([f"LayerSlider(scripted.finished_run({HOSTILE[:60]!r}), static=True)"])
    notebook.run_cell(0)
    notebook.run_cell(1)
    frame = notebook.output(1).frame_locator("iframe")
    frame.get_by_role("slider", name="Layer").press("ArrowLeft")
    expect(frame.locator(".dlw-facts")).to_contain_text("layer 11 of 12")
    expect(notebook.output(1).locator("img.difflens-still")).to_be_hidden()
    notebook.page.emulate_media(color_scheme="dark")  # the system's; the notebook stays light
    expect(frame.locator("html")).to_have_attribute("theme", "light")
    expect(frame.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    notebook.page.emulate_media(color_scheme="light")
    notebook.page.evaluate("document.body.dataset.jpThemeLight = 'false'")  # as JupyterLab's dark theme does
    expect(frame.locator("html")).to_have_attribute("theme", "dark")
    expect(frame.locator("body")).to_have_css("background-color", "rgb(23, 25, 28)")
    expect(frame.locator(".dlw-root")).to_have_css("background-color", "rgb(23, 25, 28)")
    notebook.panel.locator(".cm-content").first.click()  # keys pressed within the frame do not reach the notebook
    notebook.save()
    file = server.notebooks / notebook.name

    body, _ = HTMLExporter(template_name="basic").from_filename(str(file))
    (tmp_path / "converted.html").write_text(f"<!doctype html><meta charset=utf-8>{body}", "utf-8")
    converted = visit(browser, tmp_path / "converted.html")
    inside = converted.page.frame_locator("iframe")
    assert inside.locator("html").get_attribute("theme") is None  # nothing is known: the colors of the system
    inside.get_by_role("slider", name="Layer").press("Home")
    expect(inside.locator(".dlw-facts")).to_contain_text("layer 0 of 12")
    assert [noise for noise in converted.noise if noise.startswith(("request", "error", "dialog"))] == []
    assert barriers(converted.page.frames[1]) == []

    stranger = file.with_name("stranger.ipynb")  # the same outputs, but nobody here has run them
    stranger.write_text(file.read_text("utf-8").replace("import sys", "import sys ", 1), "utf-8")
    untrusted = open_notebook(name="stranger.ipynb")
    expect(untrusted.output(1).locator("img.difflens-still")).to_be_visible()
    assert untrusted.output(1).locator("iframe, script").count() == 0


def test_without_scripts_all_pictures_are_there(browser: Browser, tmp_path: Path) -> None:
    run = drawn_run(depth=5)
    del run.images[2]
    opened = visit(browser, run.to_html(tmp_path / "a.html"), java_script_enabled=False)
    names = [image.get_attribute("alt") for image in opened.page.locator("img").all()]
    assert names == [f"layer {layer}" for layer in (0, 1, 3, 4)]
    assert all(image.is_visible() for image in opened.page.locator("img").all())
    assert opened.page.locator("h1").text_content() == run.prompt


def test_a_slider_that_fails_leaves_the_pictures(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "export default () => ({ render() { throw new Error('too old') } })"
    monkeypatch.setattr(document, "bundle", lambda name: broken)
    opened = visit(browser, drawn_run(depth=3).to_html(tmp_path / "a.html"))
    opened.page.get_by_text("does not work in this browser (Error: too old)").wait_for()
    assert opened.page.locator("img").count() == 3
    assert all(image.is_visible() for image in opened.page.locator("img").all())


def test_the_page_would_not_fetch_or_run_anything_else(browser: Browser, tmp_path: Path) -> None:
    """Its own policy forbids it, should ever something get in."""
    opened = loaded(browser, drawn_run(depth=2).to_html(tmp_path / "a.html"))
    fetched = opened.page.evaluate("fetch('data:text/plain,x').then(() => 'fetched', () => 'refused')")
    injected = opened.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.injected = 1';"
        "document.body.append(s); return window.injected ?? 'refused' }"
    )
    assert (fetched, injected) == ("refused", "refused")


def test_the_page_names_no_address_on_the_network(tmp_path: Path) -> None:
    text = drawn_run().to_html(tmp_path / "a.html").read_text("utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'\\]*", text))
    assert {address for address in addresses if not address.startswith("http://www.w3.org/")} == set()
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>a pink cat on a blue background</title>" in text


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot save the page 'a pink cat on a blue background'.*nowhere"):
        drawn_run(depth=1).to_html(tmp_path / "nowhere" / "a.html")
