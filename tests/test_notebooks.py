"""The tutorials as they are committed: small, without what needs a kernel, and in today's names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import difflens_widgets
from difflens_widgets.cli.tutorials import find_result

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


INSTALL = """import importlib.util

if importlib.util.find_spec("difflens_widgets") is None:  # this notebook was opened alone, as on Colab
    %pip install -q "difflens_widgets[train]"
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_can_be_opened_alone(path: Path) -> None:
    """As on Colab: its first cell of code installs the package where it is missing, and no result lies beside it."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code[0] == INSTALL.rstrip()
    for cell in code:
        for name in re.findall(r'find_result\("(.*?)"\)', cell):
            assert find_result(name).is_file()
        assert not re.search(r"""["']results/""", cell), cell
