"""The page of its own, in a real Chromium: offline, the slider works; a prompt never becomes part of the program."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Page

from difflens_widgets.runs.render import page as _page
from drawn_runs import drawn_run, picture

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
    opened = loaded(browser, _page.runs_to_html([run, run], tmp_path / "a.html", title=HOSTILE))
    shown = " ".join(HOSTILE.split()).replace("\ud800", "?")
    assert opened.page.title() == shown
    assert opened.page.locator("h1").text_content() == shown
    assert opened.page.locator("h2").all_text_contents() == [shown, shown]
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
    opened = loaded(browser, _page.runs_to_html(runs, tmp_path / "a.html", title="two animals"))
    opened.page.locator(".view canvas.dlw-picture").nth(1).wait_for()
    opened.page.get_by_role("slider", name="Layer").nth(1).focus()
    opened.page.keyboard.press("Home")
    opened.page.get_by_text("layer 0 of 3").first.wait_for()
    assert shows(opened.canvas(0), runs[0].images[3])
    assert shows(opened.canvas(1), runs[1].images[0])
    assert opened.page.locator("h1").text_content() == "two animals"
    assert opened.page.locator("h2").all_text_contents() == ["a cat", "a dog"]
    assert opened.noise == []


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_page_and_slider_are_of_one_colour(browser: Browser, tmp_path: Path, scheme: str, dark: bool) -> None:
    opened = loaded(browser, drawn_run(depth=2).to_html(tmp_path / "a.html"), color_scheme=scheme)
    look = "element => getComputedStyle(element).backgroundColor"
    page, slider = (opened.page.locator(name).first.evaluate(look) for name in ("body", ".dlw-root"))
    assert page == slider
    assert (sum(map(int, re.findall(r"\d+", page))) < 200) == dark


def test_a_page_fits_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = drawn_run("a photo of a pink cat on a blue background " * 3).to_html(tmp_path / "a.html")
    opened = loaded(browser, path, viewport={"width": 360, "height": 740})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360


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
    broken = tmp_path / "broken.js"
    broken.write_text("export default () => ({ render() { throw new Error('too old') } })", "utf-8")
    monkeypatch.setattr(_page, "_BUNDLE", broken)
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


def test_no_run_and_an_empty_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no run to write a page of"):
        _page.runs_to_html([], tmp_path / "a.html")
    with pytest.raises(ValueError, match="this run has no pictures yet: a dog"):
        _page.runs_to_html([drawn_run(depth=1), drawn_run("a dog", images={})], tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot save the page 'a pink cat on a blue background'.*nowhere"):
        drawn_run(depth=1).to_html(tmp_path / "nowhere" / "a.html")
