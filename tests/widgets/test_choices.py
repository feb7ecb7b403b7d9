"""What a browser chooses is not sent back to it: by the time it came, one may have dragged on."""

from __future__ import annotations

import re
from pathlib import Path

import ipywidgets
import pytest

from difflens_widgets import DiffViewer, EpochScrubber, LayerSlider, Microscope, TokenAttentionGrid

WIDGETS = {
    LayerSlider: {"layer", "step", "token"},
    TokenAttentionGrid: {"layer", "step", "token", "rows", "block", "selected_tokens", "normalize", "opacity"},
    DiffViewer: {"layer", "mode", "metric", "token"},
    EpochScrubber: {"layer", "epoch", "validation_prompt", "color_by"},
}
SOURCES = Path(__file__).parents[2] / "js" / "src"


@pytest.mark.skipif(int(ipywidgets.__version__.split(".")[0]) < 8, reason="ipywidgets 7 sends nothing back")
@pytest.mark.parametrize("kind", WIDGETS)
def test_it_is_not_sent_back(kind, monkeypatch) -> None:
    monkeypatch.setattr("ipywidgets.widgets.widget.JUPYTER_WIDGETS_ECHO", True)
    widget, sent = kind(), []
    widget._send = lambda message, buffers=None: sent.append(message)
    try:
        for name in WIDGETS[kind] | {"notice"}:
            widget.set_state({name: "from the browser" if name == "notice" else getattr(widget, name)})
    finally:
        widget.close()
    echoed = [name for message in sent if message["method"] == "echo_update" for name in message["state"]]
    assert echoed == ["notice"]  # which no browser sets


def test_the_traits_above_are_all_that_the_browser_sets() -> None:
    code = "\n".join(file.read_text("utf-8") for file in SOURCES.rglob("*.ts"))
    microscope = set(Microscope.class_trait_names(sync=True, echo_update=False))  # it needs a lens to be built
    assert set(re.findall(r'\bset\("([a-z]\w*)"', code)) <= microscope.union(*WIDGETS.values())
