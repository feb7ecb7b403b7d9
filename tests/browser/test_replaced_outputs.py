"""Replaced outputs leave nothing of ours on the page: JupyterLab keeps its own view of each, and ends none."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

TIMES = 30
OURS = 20  # nodes: JupyterLab and anywidget keep a few for each output; a view of ours has hundreds

WIDGETS = {
    "LayerSlider": "w = LayerSlider(scripted.finished_run())",
    "TokenAttentionGrid": """
from difflens_widgets.runs.maps.options import AttentionOptions
w = TokenAttentionGrid(scripted.finished_run(attention=AttentionOptions()))""",
    "DiffViewer": "from difflens_widgets import DiffViewer; w = DiffViewer(scripted.comparison())",
    "EpochScrubber": """
import training
from difflens_widgets import EpochScrubber
w = EpochScrubber(training.finished(range(0, 101, 50), config={}))""",
    "Microscope": "import microscope; w = microscope.scope('a pink cat')",
}
REPLACE = f"""import time
for _ in range({TIMES}):  # as after each run: the output gets its still picture
    w._still_due = True
    w._update_still()
    time.sleep(0.15)"""


def nodes(notebook) -> int:
    """All nodes that are in memory, on the page or not."""
    session = notebook.page.context.new_cdp_session(notebook.page)
    session.send("HeapProfiler.collectGarbage")
    found = session.send("Memory.getDOMCounters")["nodes"]
    session.detach()
    return found


# one of them here; the frame of all widgets is the same, and the others take two minutes
@pytest.mark.parametrize(
    "name", ["LayerSlider", *(pytest.param(name, marks=pytest.mark.slow) for name in WIDGETS if name != "LayerSlider")]
)
def test_replaced_outputs_leave_no_nodes(open_notebook, name) -> None:
    notebook = open_notebook([WIDGETS[name] + "; w", REPLACE])
    for cell in (0, 1, 2):
        notebook.run_cell(cell)
    root = notebook.panel.locator(".dlw-root").first
    expect(root).to_be_visible()
    notebook.page.wait_for_timeout(3000)  # the last one that was replaced has its moment to come back
    before = nodes(notebook)
    notebook.run_cell(2)
    notebook.page.wait_for_timeout(3000)
    grown = nodes(notebook) - before
    assert grown / TIMES < OURS, f"{grown / TIMES:.0f} nodes stay for each replaced output"
    expect(root).to_be_visible()
    assert notebook.errors == []


def test_an_output_that_is_moved_or_scrolled_away_stays(open_notebook) -> None:
    notebook = open_notebook([WIDGETS["LayerSlider"] + "; w", *["0"] * 3])
    notebook.run_cell(0)
    notebook.run_cell(1)
    slider = notebook.widget()
    slider.wait_until_done()
    shown = slider.pixels()
    away = """async root => {
      const cell = root.closest(".jp-Cell"), output = root.parentElement, next = cell.nextSibling;
      const later = (ms) => new Promise((after) => setTimeout(after, ms));
      cell.remove();                                  // as a cell that is scrolled away
      await later(1500);
      const kept = output.contains(root);
      next.before(cell);
      const place = output.parentElement;
      output.remove();                                // as an output that is moved
      await later(300);
      place.append(output);
      await later(1500);
      const moved = output.contains(root);
      output.remove();                                // and as one that was replaced, and comes back all the same
      await later(1500);
      const ended = !output.firstElementChild;
      place.append(output);
      await later(500);
      return [kept, moved, ended];
    }"""
    assert slider.root.evaluate(away) == [True, True, True]
    slider.wait_until_done()
    assert slider.pixels() == shown
    slider.press("Home")
    expect(slider.facts).to_contain_text("layer 0 of 12")
    assert notebook.errors == []
