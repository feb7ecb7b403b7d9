"""Part: makes a widget a part of another one, which passes its state and its messages on. It opens no comm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as t
from PIL import Image

from .layer_slider import LayerSlider
from .token_attention_grid import TokenAttentionGrid

log = logging.getLogger(__name__)

LINKED = ("layer", "step", "token")
"""Traits that the parts share with their owner; the owner's are the ones in the browser."""

_NOT_SENT = {*anywidget.AnyWidget.class_traits(sync=True), *LINKED, "_esm", "_css", "_anywidget_id"}

Deliver = Callable[[dict[str, Any], list[Any] | None], None]


class Part:
    """Mixed into a widget, before its class. Not every notebook can put one widget into another, and each can do this.

    Parameters
    ----------
    deliver : callable
        Takes what the widget would send through its comm: a dict of `state` and `paths` (where in the state the buffers
        belong) or of `content` (a message), and the buffers.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        super().__init__()

    def open(self) -> None:
        """Open no comm: ipywidgets calls this at the end of `__init__`."""

    def state(self) -> dict[str, Any]:
        """What the browser has to know: the traits of this project, without code, style and linked traits."""
        return self.get_state(self._own_keys())  # type: ignore[attr-defined]

    def take(self, message: dict[str, Any]) -> None:
        """Take what the browser says to this part: trait values in `state`, or a message in `content`."""
        state, own = message.get("state"), self._own_keys()
        if isinstance(state, dict):
            try:
                self.set_state({name: value for name, value in state.items() if name in own})  # type: ignore[attr-defined]
            except t.TraitError as error:  # of a run that was replaced meanwhile
                log.warning("refused from the browser: %s", error)
        if "content" in message:
            content = message["content"]
            self._on_message(self, content, [])  # type: ignore[attr-defined]
            if isinstance(content, dict) and content.get("run", self._run) != self._run:  # type: ignore[attr-defined]
                # A page that was not there when the run began. Most notebooks keep messages for it or ask for the
                # state anew; marimo gives it the state of the time when the widget was made.
                self.send_state(self._own_keys())  # type: ignore[attr-defined]

    def still(self) -> Image.Image | None:
        """Return the picture that stands for the widget where none can run."""
        run = self._shown  # type: ignore[attr-defined]
        return self._draw_still(run) if run is not None and run.images else None  # type: ignore[attr-defined]

    def notify_change(self, change: Any) -> None:
        """Send a changed trait, as ipywidgets does for a widget with a comm."""
        name = change["name"]
        if name in self._own_keys() and self._should_send_property(name, getattr(self, name)):  # type: ignore[attr-defined]
            self.send_state(name)  # type: ignore[attr-defined]
        super().notify_change(change)  # type: ignore[misc]

    def _own_keys(self) -> list[str]:
        return [name for name in self.keys if name not in _NOT_SENT]  # type: ignore[attr-defined]

    def _send(self, msg: dict[str, Any], buffers: list[Any] | None = None) -> None:
        if msg["method"] == "update":
            self._deliver({"state": msg["state"], "paths": msg["buffer_paths"]}, buffers)
        elif msg["method"] == "custom":
            self._deliver({"content": msg["content"]}, buffers)


class SliderPart(Part, LayerSlider):
    """A LayerSlider within another widget."""


class AttentionPart(Part, TokenAttentionGrid):
    """A TokenAttentionGrid within another widget."""
