"""What the figures of this room share: layer axes, colors, title and caption.

Matplotlib is imported when the first figure is drawn, not before.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.render.figure import AS_IT_IS, figure_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colors that color-blind readers can tell apart (Okabe & Ito 2008)
BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "0.45"
LAYER_LABEL = "layer of the text encoder (0: embeddings)"
_CHARACTER = 0.075  # inches: width of one character of a caption


def new_figure(width: float, height: float, columns: int = 1, count: int | None = None) -> tuple[Figure, list[Axes]]:
    """Make a figure of `width` × `height` inches with `count` panels (default: `columns`), `columns` in a row."""
    figure = figure_class()(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("none")  # independent of the user's rcParams; `finish` sets one
    count = count or columns
    rows = math.ceil(count / columns)
    return figure, [figure.add_subplot(rows, columns, number) for number in range(1, count + 1)]


def layer_axis(axes: Axes, layers: np.ndarray, label: str, most: int = 14) -> None:
    """Label the x axis and put ticks on it, each at a layer, and no more than have room beside each other."""
    axes.set_xlabel(label, fontsize=9)
    axes.set_xticks(layers[:: math.ceil(len(layers) / most)])
    axes.tick_params(labelsize=8)


def finish(figure: Figure, title: str, caption: str) -> Figure:
    """Write the title above the panels and the caption below them, and fit the panels in between."""
    height, width = figure.get_figheight(), figure.get_figwidth()
    head = textwrap.wrap(" ".join(title.split()), int(width / 0.095), max_lines=3, placeholder=" …")
    foot = textwrap.wrap(caption, int(width / _CHARACTER))
    style: dict[str, Any] = {"ha": "center", **AS_IT_IS}
    heading = figure.suptitle("\n".join(head), y=1 - 0.1 / height, va="top", fontsize=11, color="0.1", **AS_IT_IS)
    heading.set_in_layout(False)  # `above` leaves the space for it
    figure.text(0.5, 0.08 / height, "\n".join(foot), va="bottom", fontsize=8, color="0.35", **style)
    below, above = (0.25 + 0.15 * len(foot)) / height, 1 - (0.15 + 0.2 * len(head)) / height
    figure.set_layout_engine("tight", rect=(0, below, 1, above))
    return figure
