"""Widgets whose output is a page: what a saved notebook holds, and what it does not."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from browser import scripted, training
from difflens_widgets import DiffViewer, EpochScrubber, LayerSlider, TokenAttentionGrid
from difflens_widgets.runs.render.page import embed
from difflens_widgets.runs.render.page.document import policy
from drawn_comparisons import drawn_comparison
from drawn_runs import attention_run, drawn_run, picture
from written_pages import data_of

HOSTILE = 'a cat"></iframe><script>alert(1)</script><img src=x onerror=alert(2)>'


def page_in(output: str, folder: Path) -> Path:
    """The page that a cell's output holds, as a file."""
    found = re.search(r' srcdoc="([^"]*)"', output)
    assert found
    path = folder / "page.html"
    path.write_text(html.unescape(found[1]), "utf-8")
    return path


def bundle_of(widget) -> dict:
    data, metadata = widget._repr_mimebundle_()
    widget.close()
    assert metadata == {}
    return data


@pytest.mark.parametrize("kind", ["layers", "attention", "comparison", "training"])
def test_the_output_is_a_page_with_a_picture(kind: str, tmp_path: Path) -> None:
    widget = {
        "layers": lambda: LayerSlider(drawn_run(depth=3), static=True),
        "attention": lambda: TokenAttentionGrid(attention_run(), static=True),
        "comparison": lambda: DiffViewer(drawn_comparison(), static=True),
        "training": lambda: EpochScrubber(training.finished((0, 50), folder=tmp_path), static=True),
    }[kind]()
    choices = {"layer": 0 if kind != "training" else 7, "token": 2} if kind != "training" else {"layer": 7, "epoch": 0}
    for name, value in choices.items():
        setattr(widget, name, value)
    data = bundle_of(widget)
    assert set(data) == {"text/html", "image/png", "text/plain"}
    (view,) = data_of(page_in(data["text/html"], tmp_path))["views"]
    assert {name: view["state"][name] for name in choices} == choices
    # a style sheet hides the picture; places that take frames away take the style sheet away too
    assert data["text/html"].startswith("<style>.difflens-still{display:none!important}")
    assert re.search(r'<img class="difflens-still" alt="[^"]+" src="data:image/webp;base64,', data["text/html"])


def test_the_page_is_closed_and_cannot_reach_the_notebook(tmp_path: Path) -> None:
    output = bundle_of(LayerSlider(drawn_run(HOSTILE, depth=2), static=True))["text/html"]
    assert re.findall(r"<(\w+)", output) == ["style", "iframe", "img"]
    assert 'sandbox="allow-scripts allow-downloads"' in output
    page = page_in(output, tmp_path).read_text("utf-8")
    assert html.escape(policy()) in page
    assert page.count("<script") == 2
    assert "<img" not in page


def test_a_job_is_waited_for(tmp_path: Path) -> None:
    job = scripted.job(seconds=0.2)
    data = bundle_of(LayerSlider(job, static=True))
    assert job.done()
    assert len(data_of(page_in(data["text/html"], tmp_path))["views"][0]["state"]["_frames"]) == 13


def test_a_variable_of_the_environment_makes_every_widget_static(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFLENS_STATIC", "1")
    assert "text/html" in bundle_of(LayerSlider(drawn_run(depth=2)))
    monkeypatch.setenv("DIFFLENS_STATIC", "0")
    assert "application/vnd.jupyter.widget-view+json" in bundle_of(LayerSlider(drawn_run(depth=2)))


def test_a_widget_with_nothing_to_show_is_a_widget() -> None:
    assert "application/vnd.jupyter.widget-view+json" in bundle_of(LayerSlider(static=True))


def test_a_large_run_is_reduced_and_a_still_larger_one_shown_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = drawn_run(depth=5, size=128, images={layer: picture(layer, 128) for layer in range(5)})
    for allowed in (100_000, 1000):
        monkeypatch.setattr(embed, "MAX_BYTES", allowed)
        data = bundle_of(LayerSlider(run, static=True))
        page = page_in(data["text/html"], tmp_path)
        assert (page.stat().st_size <= allowed) == (allowed > 1000)
        assert f"Reduced to fit into {allowed // 1000} KB" in page.read_text("utf-8")
