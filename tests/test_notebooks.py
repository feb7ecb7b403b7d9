"""The tutorials as they are committed: small, without what needs a kernel, and in today's names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import difflens_widgets

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_shows_its_pictures_everywhere(path: Path) -> None:
    assert path.stat().st_size <= 800_000
    notebook = json.loads(path.read_text("utf-8"))
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert VIEW not in data, "a widget without its state shows nothing: run .ci/slim"
            assert output["output_type"] != "error"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_imports_is_public(path: Path) -> None:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for names in re.findall(r"^from difflens_widgets import (?:\(([^)]*)\)|([^\n]*))", code, re.M):
        for name in re.findall(r"\w+", "".join(names)):
            assert name in difflens_widgets.__all__, name
