"""The metrics of a comparison as a matplotlib figure: one panel each, over the layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..axes import BLUE, GRAY, GREEN, LAYER_LABEL, ORANGE, finish, layer_axis, new_figure
from .charts import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {"raw": GRAY, "tuned": BLUE, "encoder": ORANGE, "U-Net": BLUE, "both": GREEN}


def plot_metrics(
    charts: Sequence[Chart], metrics: Mapping[str, np.ndarray], layers: Sequence[int], title: str, caption: str
) -> Figure:
    """Draw the metrics of `charts` over `layers`; a dashed gray line is the raw model compared with itself."""
    columns = min(3, len(charts))
    rows = math.ceil(len(charts) / columns)
    figure, panels = new_figure(3.4 * columns, 2.9 * rows + 0.8, columns, len(charts))
    numbers = np.array(layers)
    for index, (axes, chart) in enumerate(zip(panels, charts, strict=True)):
        if chart.itself is not None:
            axes.axhline(chart.itself, color=GRAY, linewidth=1.2, linestyle="--", label="raw with itself")
        for label, name in chart.series:
            width = 5 if label == "raw" else 2  # visible also where the line of tuned covers it
            style: dict[str, Any] = {"color": _COLORS[label], "linewidth": width, "label": label}
            axes.plot(numbers, metrics[name], marker="o", markersize=3, **style)
        axes.set_title(chart.label, fontsize=9, color="0.25")
        axes.set_ylabel(chart.unit, fontsize=9)
        axes.legend(fontsize=7, frameon=False)
        layer_axis(axes, numbers, LAYER_LABEL if index >= len(charts) - columns else "")
    return finish(figure, title, caption)
