"""PageView: one widget on a page, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

MAX_THINNING = 4
"""The largest number that `page_views` takes: by then a view keeps its first and last picture and every fourth."""

Bundle = Literal["layer_slider", "token_attention_grid", "diff_viewer", "epoch_scrubber"]


@dataclass
class PageView:
    """One widget of a page: its traits, and the pictures that replace it where no script runs.

    Attributes
    ----------
    widget : str
        The name of the widget's bundle in `widgets/static/`.
    label : str
        What the menu of a page calls it, for example "Layers".
    title : str
        What it shows, for example the prompt.
    state : dict
        The trait values. Pictures and maps are bytes in ``state["_frames"][key]["data"]``; all else is JSON.
    stills : list of (str, PIL.Image)
        Caption and picture.
    left_out : list of str
        What thinning left out, for example "every second layer".
    """

    widget: Bundle
    label: str
    title: str
    state: dict[str, Any]
    stills: list[tuple[str, Image.Image]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def kept(values: Sequence[int], every: int, always: Sequence[int] = ()) -> list[int]:
    """Every `every`-th of some ascending values, with the first, the last, and those that are kept `always`."""
    last = len(values) - 1
    return [value for i, value in enumerate(values) if i in (0, last) or (last - i) % every == 0 or value in always]


def left_out(every: int, what: str) -> str:
    """Say which of several things `kept` has left out."""
    return f"every second {what}" if every == 2 else f"three of every four {what}s"
