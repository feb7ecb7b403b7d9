"""`difflens site`: a notebook is executed, its widget works on the page, and nothing on the page is fetched."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from difflens_widgets import cli
from difflens_widgets.cli import site, tutorials
from difflens_widgets.cli.site.tutorial import execute, html_page, title_and_question
from drawn_runs import drawn_run

FIRST = r"""# Cats & dogs

*What does the
encoder see?*

As in [the next one](02_next.ipynb#part): $$x_{t} = \text{both}$$"""
pytest.importorskip("latex2mathml", reason="the extra site is not installed")


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A tutorial that opens a run, which lies in the folder of results beside it."""
    folder = tmp_path / "notebooks"
    (folder / "results").mkdir(parents=True)
    drawn_run(depth=3).save(folder / "results" / "cat.lens")
    cells = [
        nbformat.v4.new_markdown_cell(FIRST),
        nbformat.v4.new_code_cell(
            "from difflens_widgets import LayerSlider, LensRun\nrun = LensRun.load('results/cat.lens')"
        ),
        nbformat.v4.new_code_cell("LayerSlider(run)"),
        nbformat.v4.new_code_cell("run"),
    ]
    path = folder / "01_cats.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_tutorial_becomes_a_page_with_a_working_widget(notebook: Path) -> None:
    executed = execute(notebook, 120)
    assert title_and_question(executed) == ("Cats & dogs", "What does the encoder see?")
    page = html_page(executed, "Cats & dogs")
    assert page.count("<iframe") == 1
    assert page.count("data:image/webp") >= 2  # the widget's still picture, and the run's own
    assert 'href="02_next.html#part"' in page
    assert "<math" in page
    assert "$$" not in page
    outside = re.sub(r'srcdoc="[^"]*"', "", page)
    assert "<script" not in outside
    assert set(re.findall(r'(?:src|href)="(\w+:?//[^"]*)"', outside)) == set()
    assert "Content-Security-Policy" in outside


def test_a_cell_that_fails_is_named(notebook: Path) -> None:
    broken = nbformat.read(notebook, as_version=4)
    broken.cells[1].source = "raise RuntimeError('out of paint')"
    nbformat.write(broken, notebook)
    with pytest.raises(ValueError, match=r"01_cats.ipynb: (?s:.)*out of paint"):
        execute(notebook, 120)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(site, "_NEEDED", {"nothing-of-this-name": "nothing_of_this_name"})
    assert cli.main(["site", str(tmp_path / "site")]) == 2
    assert 'nothing-of-this-name is not installed: pip install "difflens_widgets[site]"' in capsys.readouterr().err
    monkeypatch.setattr(site, "_NEEDED", {})
    assert cli.main(["site", str(tmp_path / "site"), "--only", "99_*"]) == 2
    assert "--only: no tutorial is called 99_*" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


@pytest.mark.slow
def test_the_site_has_an_index_and_the_reference(
    notebook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    pytest.importorskip("pdoc", reason="the extra site is not installed")
    monkeypatch.setattr(tutorials, "_PLACES", (notebook.parent,))
    out = tmp_path / "site"
    assert cli.main(["site", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"01_cats.html", "index.html", "reference"}
    index = (out / "index.html").read_text("utf-8")
    assert "<strong>What does the encoder see?</strong><span>Cats &amp; dogs</span>" in index
    links = set(re.findall(r'href="([^"]+)"', index))
    assert all((out / link).is_file() for link in links)
    reference = (out / "reference" / "difflens_widgets.html").read_text("utf-8")
    for name in ("DiffusionLens", "LayerSlider", "to_html", "train_dreambooth"):
        assert f'id="{name}"' in reference
    assert set(re.findall(r'(?:src|href)="(\w+:?//[^"]*)"', reference)) <= {"https://pdoc.dev"}
    assert str(out.resolve() / "index.html") in capsys.readouterr().out
