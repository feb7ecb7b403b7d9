"""A notebook that a program runs, as nbconvert and documentation builders do: nobody looks on, the file has it all."""

from __future__ import annotations

import pytest

from browser import scripted

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


@pytest.fixture(scope="module")
def executed():
    folder = str(scripted.__file__).removesuffix("scripted.py")
    cells = [
        f"import sys; sys.path.append({folder!r}); import scripted; from difflens_widgets.widgets import LayerSlider",
        "job = scripted.job(seconds=1); widget = LayerSlider(job); widget",
        "_ = job.result()",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, store_widget_state=True).execute()
    return notebook


def test_the_output_has_the_picture(executed):
    [output] = executed.cells[1].outputs
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(output.data)


def test_the_widget_state_has_every_frame(executed):
    states = executed.metadata.widgets[WIDGET_STATE]["state"].values()
    [slider] = [each for each in states if "LayerSlider" in each["state"].get("_anywidget_id", "")]
    assert slider["state"]["status"] == "done"
    paths = {tuple(buffer["path"]) for buffer in slider["buffers"]}
    assert paths == {("_frames", f"layer/{layer}", "data") for layer in range(13)}
