"""The views of a Microscope: existing widgets as its parts, with layer, step and word in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import traitlets as t
from PIL import Image

from ..runs.render.encoding import small_png
from ._part import AttentionPart, Part, SliderPart
from ._scope_history import Entry

_CLASSES: dict[str, type[Part]] = {
    "lens": SliderPart,
    "attention": AttentionPart,
    "second": SliderPart,
    "patch": SliderPart,
}


class Views:
    """The parts of a Microscope.

    Parameters
    ----------
    deliver : callable
        Takes the name of a part, and what it sends (see `Part`).
    """

    def __init__(self, deliver: Callable[[str, dict[str, Any], list[Any] | None], None]) -> None:
        self._parts: dict[str, Any] = {name: of(partial(deliver, name)) for name, of in _CLASSES.items()}

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the state of every part, with its images."""
        return {name: part.state() for name, part in self._parts.items()}

    def take(self, message: dict[str, Any]) -> None:
        """Pass what the browser says to the part that it names."""
        part = self._parts.get(message.get("part", ""))
        if part is not None:
            part.take(message)

    def show(self, entry: Entry, linked: Mapping[str, Any]) -> None:
        """Show all that an entry has. In Colab this waits for its jobs: there nothing arrives from a thread."""
        has = entry.parts()
        sources = {name: entry.sources.get("lens" if name == "attention" else name) for name in self._parts}
        for name, source in sources.items():
            if source is not None and name in has:
                self._parts[name].show(source)
                self._link(self._parts[name], linked)

    def link(self, linked: Mapping[str, Any]) -> None:
        """Let the parts know which picture is on screen, so that it comes first."""
        for part in self._parts.values():
            self._link(part, linked)

    def still_png(self, view: str, entry: Entry) -> bytes | None:
        """Return what a tab shows of an entry as a still picture; None while there is none."""
        attended = view == "attention" and "attention" in entry.parts()
        of_view = {"compare": ["lens", "second"], "patch": ["patch"]}
        names = ["attention"] if attended else of_view.get(view, ["lens"])
        stills = [self._parts[name].still() for name in names if name in entry.parts()]
        pictures = [still for still in stills if still is not None]
        if not pictures:
            return None
        sheet = Image.new("RGB", (max(each.width for each in pictures), sum(each.height for each in pictures)), "white")
        down = 0
        for each in pictures:
            sheet.paste(each, (0, down))
            down += each.height
        return small_png(sheet)

    def close(self) -> None:
        """End the threads of the parts."""
        for part in self._parts.values():
            part.close()

    @staticmethod
    def _link(part: Any, linked: Mapping[str, Any]) -> None:
        for trait, value in linked.items():
            with suppress(t.TraitError):  # this run does not have that layer: the browser shows the nearest below
                setattr(part, trait, value)
