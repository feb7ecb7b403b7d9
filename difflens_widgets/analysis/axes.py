"""The measures as matplotlib figures, each with axes that say what they show and a caption that says from what."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.render.figure import AS_IT_IS, figure_class
from ..runs.render.grid import columns_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .cka import LayerCKA
    from .drift import LayerDrift
    from .similarity import Pairs, SimilarityReport
    from .table import EmergenceTable

# colours that the colour-blind tell apart (Okabe & Ito 2008)
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "0.45"
_LAYER = "layer of the text encoder (0: embeddings)"
_CHARACTER = 0.075  # inches of one in a caption


def plot_similarity(report: SimilarityReport) -> Figure:
    """The curve over the layers, and mean and range of each control."""
    figure, (axes,) = _figure(6.4, 4.2)
    layers = np.arange(len(report.similarity))
    _control(axes, layers, report.other_words, _GREY, "other words of the two prompts")
    _control(axes, layers, report.other_prompts, _ORANGE, "words of other prompts")
    _control(axes, layers, report.same_words, _GREEN, "the same word twice")
    label = " – ".join(f"“{word}”" for word in report.words)
    axes.plot(layers, report.similarity, color=_BLUE, linewidth=2, marker="o", markersize=4, label=label)
    axes.set_ylabel("cosine similarity (-1 to 1)")
    _layer_axis(axes, layers, _LAYER)
    legend = axes.legend(fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set(**AS_IT_IS)
    states = "states as the denoiser is given them" if report.normed else "raw states, before the final norm"
    split = f"words of several pieces: {'their mean' if report.pieces == 'mean' else f'the {report.pieces} piece'}"
    prompts = " · ".join(f"“{prompt}”" for prompt in report.prompts)
    return _finish(figure, prompts, f"{states} · {split} · controls: mean and range · {report.model}")


def plot_drift(drift: LayerDrift) -> Figure:
    """Cosine distance and relative change over the blocks: each token, and their mean."""
    figure, panels = _figure(9.0, 3.8, columns=2)
    blocks = np.arange(1, len(drift.cosine) + 1)
    names = ("cosine distance (0 to 2)", "relative change (ratio of lengths)")
    for axes, values, name in zip(panels, (drift.cosine, drift.relative), names, strict=True):
        axes.plot(blocks, values, color=_GREY, linewidth=0.7, alpha=0.6)
        axes.plot(blocks, values.mean(1), color=_BLUE, linewidth=2, marker="o", markersize=4)
        axes.set_ylabel(name)
        if values is drift.relative and (values > 0).all():
            axes.set_yscale("log")  # the first block multiplies, the later ones add a little
        else:
            axes.set_ylim(bottom=0)
        _layer_axis(axes, blocks, "block: from layer k - 1 to layer k")
    caption = f"grey: single tokens (n = {len(drift.tokens)}) · blue: their mean"
    return _finish(figure, f"“{drift.prompt}”", caption)


def plot_cka(cka: LayerCKA) -> Figure:
    """The matrix of linear CKA, layer by layer."""
    figure, (axes,) = _figure(5.4, 5.2)
    image = axes.imshow(cka.matrix, origin="lower", vmin=min(0.0, float(cka.matrix.min())), vmax=1, cmap="viridis")
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("linear CKA (1: alike up to rotation and scale)")
    layers = np.arange(len(cka.matrix))
    _layer_axis(axes, layers, _LAYER)
    axes.set_yticks(axes.get_xticks())
    axes.set_ylabel("layer")
    kind = "unbiased estimate" if cka.debiased else "biased estimate"
    few = "" if cka.debiased or cka.n > cka.width else " (too few tokens: n ≤ width)"
    caption = f"n = {cka.n} tokens of {cka.prompts} prompts, width {cka.width} · {kind}{few}"
    return _finish(figure, "Linear CKA between layers", caption)


def plot_emergence(table: EmergenceTable) -> Figure:
    """For each task, the share judged right with its interval, and where the runs emerge."""
    tasks = list(table.prompts)
    columns = min(columns_for(len(tasks)), 4)
    rows = math.ceil(len(tasks) / columns)
    figure, panels = _figure(3.2 * columns, 2.7 * rows + 0.6, columns=columns, count=len(tasks))
    layers = np.array(table.layers)
    for place, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        share, low, high = 100 * table.shares(task).T
        counts = table.counts(task)
        runs = sum(counts.values())
        bars = [100 * counts[layer] / runs for layer in table.layers]
        axes.bar(layers, bars, color=_ORANGE, alpha=0.45, width=0.8, label="emerges here")
        axes.fill_between(layers, low, high, color=_BLUE, alpha=0.2, linewidth=0)
        axes.plot(layers, share, color=_BLUE, linewidth=2, marker="o", markersize=3, label="judged right")
        median = table.median(task).value
        if np.isfinite(median):
            axes.axvline(median, color=_ORANGE, linewidth=1, linestyle="--", label="median emergence")
        axes.set_title(f"{task} (n = {runs})", fontsize=9, color="0.25", **AS_IT_IS)
        axes.set_ylim(0, 100)
        _layer_axis(axes, layers, _LAYER if place >= len(tasks) - columns else "")
        if place % columns == 0:
            axes.set_ylabel("runs (%)")
    panels[0].legend(fontsize=7, frameon=False, loc="upper left")
    settings = table.settings
    caption = " · ".join(
        [
            f"{settings.get('model')}, {settings.get('num_inference_steps')} steps, "
            f"guidance {settings.get('guidance_scale')}",
            f"{len(table.seeds)} seeds a prompt",
            "bands: 95 % Wilson intervals",
            "emerges: right from there to the last layer; no dashed line: the median run never does",
        ]
    )
    return _finish(figure, "What the layers of the text encoder show", caption)


def _figure(width: float, height: float, columns: int = 1, count: int | None = None) -> tuple[Figure, list[Axes]]:
    figure = figure_class()(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("none")  # whatever the user's own settings are; `_finish` sets one
    count = count or columns
    rows = math.ceil(count / columns)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)]


def _control(axes: Axes, layers: np.ndarray, pairs: Pairs, colour: str, name: str) -> None:
    """Mean and range of a control, where there is one."""
    if pairs.words:
        label = f"{name} (n = {len(pairs.words)})"
        axes.fill_between(layers, pairs.low, pairs.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(layers, pairs.mean, color=colour, linewidth=1.2, linestyle="--", label=label)


def _layer_axis(axes: Axes, layers: np.ndarray, name: str) -> None:
    axes.set_xlabel(name, fontsize=9)
    axes.set_xticks(layers[:: math.ceil(len(layers) / 14)])
    axes.tick_params(labelsize=8)


def _finish(figure: Figure, title: str, caption: str) -> Figure:
    """Title above, caption below, and the axes between them."""
    height, width = figure.get_figheight(), figure.get_figwidth()
    head = textwrap.wrap(" ".join(title.split()), int(width / 0.095), max_lines=3, placeholder=" …")
    foot = textwrap.wrap(caption, int(width / _CHARACTER))
    style: dict[str, Any] = {"ha": "center", **AS_IT_IS}
    heading = figure.suptitle("\n".join(head), y=1 - 0.1 / height, va="top", fontsize=11, color="0.1", **AS_IT_IS)
    heading.set_in_layout(False)  # its room is in `above`
    figure.text(0.5, 0.08 / height, "\n".join(foot), va="bottom", fontsize=8, color="0.35", **style)
    below, above = (0.25 + 0.15 * len(foot)) / height, 1 - (0.15 + 0.2 * len(head)) / height
    figure.set_layout_engine("tight", rect=(0, below, 1, above))
    return figure
