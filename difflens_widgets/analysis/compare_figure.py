"""The measures of a comparison as a matplotlib figure, one panel each, over the layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import _BLUE, _GREEN, _GREY, _LAYER, _ORANGE, _figure, _finish, _layer_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..comparison import Comparison

_COLOURS = {"raw": _GREY, "tuned": _BLUE, "encoder": _ORANGE, "U-Net": _BLUE, "both": _GREEN}


def plot_comparison(comparison: Comparison) -> Figure:
    """Every measure there is; the dashed grey line is what the raw model has with itself."""
    charts = comparison.charts
    columns = min(3, len(charts))
    rows = math.ceil(len(charts) / columns)
    figure, panels = _figure(3.4 * columns, 2.9 * rows + 0.8, columns, len(charts))
    layers = np.array(comparison.layers)
    for place, (axes, chart) in enumerate(zip(panels, charts, strict=True)):
        if chart.itself is not None:
            axes.axhline(chart.itself, color=_GREY, linewidth=1.2, linestyle="--", label="raw with itself")
        for label, name in chart.series:
            width = 5 if label == "raw" else 2  # seen also where the tuned one lies on it
            style: dict[str, Any] = {"color": _COLOURS[label], "linewidth": width, "label": label}
            axes.plot(layers, comparison.metrics[name], marker="o", markersize=3, **style)
        axes.set_title(chart.label, fontsize=9, color="0.25")
        axes.set_ylabel(chart.unit, fontsize=9)
        axes.legend(fontsize=7, frameon=False)
        _layer_axis(axes, layers, _LAYER if place >= len(charts) - columns else "")
    raw, tuned = comparison.raw, comparison.tuned
    settings = raw.settings
    states = "after the final norm" if comparison.normed else "before the final norm"
    parts = [
        f"{settings.get('model')} → {tuned.settings.get('model')}",
        f"seed {raw.seed}, {settings.get('steps')} steps, guidance {settings.get('guidance_scale')}, the same noise",
        f"states {states}, mean over words and end token" if comparison.cosines is not None else "",
        "SSIM: Gaussian window of 11 pixels, mean over colours",
        f"judge: {comparison.judge}" if comparison.verdicts else "",
        "attribution: projections on the whole change, they sum to 1" if comparison.crossed else "",
    ]
    return _finish(figure, f"“{comparison.prompt}”", " · ".join(filter(None, parts)))
