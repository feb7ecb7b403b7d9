"""A comparison as the traits of a DiffViewer: pictures, metrics, and maps with one byte a pixel, on one scale.

And as the view of a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...runs.maps.resample import shrunk
from ...runs.notes import prompt_note
from ...runs.render.attention_front_end import Column, columns_of, view_maps, views_of
from ...runs.render.encoding import encode_final
from ...runs.render.front_end import describe, frame, standing, steps_of
from ...runs.render.page import PageView, kept, left_out
from .charts import Chart
from .file import ComparisonFields
from .grid import grid

MIME = "application/x-difflens-plane"
_LARGEST = 256  # pixels a side of a difference map that is sent
_ZERO, _STEPS = 128, 127  # attention: the byte of no difference, and the number of bytes on each side of it


class ShownComparison(ComparisonFields, Protocol):
    """The parts of a Comparison that are shown."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are compared, in ascending order."""

    @property
    def metrics(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Numbers over `layers`."""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Which of the metrics are drawn."""

    @property
    def not_comparable(self) -> dict[int, str]:
        """Layers whose two pictures cannot be compared, and why."""

    @property
    def note(self) -> str:
        """The same in words."""

    def difference(self, layer: int) -> npt.NDArray[np.float32]:
        """Absolute difference of each pixel of a layer's two pictures."""


def page_view(comparison: ShownComparison, thinning: int = 0) -> PageView:
    """The page of a DiffViewer. Thinned, it has smaller maps (1, 2), no swapped pictures (2), fewer layers (3, 4)."""
    name = " ".join(comparison.prompt.split()) or "(empty prompt)"
    if not any(run.images for run in comparison.runs.values()):
        raise ValueError(f"this comparison has no pictures yet: {name}")
    state, words = diff_state(comparison, largest=_LARGEST >> min(thinning, 2)), []
    if thinning > 1 and comparison.swapped:
        state["models"] = {name: state["models"][name] for name in ("raw", "tuned")}
        words.append("the pictures of swapped parts")
    every = {3: 2, 4: 4}.get(thinning, 1)
    layers = kept(state["layers"], every)
    if layers != state["layers"]:
        words.append(left_out(every, "layer"))
    shown = {*state["models"], "difference", "attention"}
    parts = {key: key.split("/") for key in state["_frames"]}  # "raw/5", "tuned-raw/5", "attention/5"
    frames = {key: state["_frames"][key] for key, (of, layer) in parts.items() if of in shown and int(layer) in layers}
    rows = [state["layers"].index(layer) for layer in layers]
    for metric in state["metrics"]:
        for series in metric["series"]:
            series["values"] = [series["values"][row] for row in rows]
    choices = {"layer": layers[-1], "mode": "side", "metric": state["metrics"][0]["name"], "token": None}
    state |= {**choices, "layers": layers, "_frames": frames, "_acknowledged": 0}
    stills = [("", grid(comparison.runs, layers))]
    return PageView("diff_viewer", "Raw and tuned", name, state, stills, words)


def diff_state(comparison: ShownComparison, number: int = 0, largest: int = _LARGEST) -> dict[str, Any]:
    """Return the traits that show a comparison, with pictures and maps.

    `number` counts the comparisons that a widget showed; the maps have at most `largest` pixels a side.
    """
    raw = comparison.raw
    steps = steps_of(raw)
    frames = {
        f"{name}/{layer}": frame(steps, number, *encode_final(image))
        for name, run in comparison.runs.items()
        for layer, image in sorted(run.images.items())
    }
    columns = word_columns(comparison)
    scales = {}
    for kind, maps in (
        ("difference", _differences(comparison, largest)),
        ("attention", _attention(comparison, columns)),
    ):
        if maps:
            packed, scales[kind] = _packed(maps, signed=kind == "attention")
            frames.update({f"{kind}/{layer}": frame(steps, number, MIME, data) for layer, data in packed.items()})
    unfinished = [run for run in comparison.runs.values() if run.status != "done"]
    return {
        **describe(raw),
        **standing(next(iter(unfinished), raw)),
        "failures": {f"{name}/{k}": why for name, run in comparison.runs.items() for k, why in run.failures.items()},
        "notice": "\n".join(filter(None, [_prompt_note(comparison), comparison.note])),
        "models": {name: str(run.settings.get("model", "")) for name, run in comparison.runs.items()},
        "metrics": metrics_of(comparison),
        "columns": [asdict(column) for column in columns if "attention" in scales],
        "_scales": scales,
        "_frames": frames,
        "_run": number,
    }


def _prompt_note(comparison: ShownComparison) -> str:
    """What holds of both models: the tuned one may have been taught a word."""
    raw, tuned = (prompt_note(run).split("\n") for run in (comparison.raw, comparison.tuned))
    return "\n".join(line for line in raw if line in tuned)


def metrics_of(comparison: ShownComparison) -> list[dict[str, Any]]:
    """Return what the sparkline can show, each with its values over the layers; None where there is no value."""
    metrics = []
    for chart in comparison.charts:
        series = [
            {"label": label, "values": [v if math.isfinite(v) else None for v in comparison.metrics[name].tolist()]}
            for label, name in chart.series
        ]
        itself = chart.itself
        metrics.append(
            {"name": chart.name, "label": chart.label, "unit": chart.unit, "itself": itself, "series": series}
        )
    return metrics


def word_columns(comparison: ShownComparison) -> list[Column]:
    """Return the words whose attention can be compared: all of the prompt if both runs captured it in the same way."""
    plans = [run.attention.plan for run in (comparison.raw, comparison.tuned) if run.attention is not None]
    if len(plans) < 2 or (plans[0].grid, plans[0].aggregator) != (plans[1].grid, plans[1].aggregator):
        return []
    return [column for column in columns_of(comparison.raw.tokens) if column.kind == "word"]


def _differences(comparison: ShownComparison, largest: int) -> dict[int, npt.NDArray[np.float32]]:
    """One map (1, height, width) for each layer that both have painted."""
    maps = {}
    for layer in comparison.layers:
        both = layer in comparison.raw.images and layer in comparison.tuned.images
        if both and layer not in comparison.not_comparable:
            difference = comparison.difference(layer)[None]
            factor = min(1.0, largest / max(difference.shape))
            size = (max(1, round(difference.shape[1] * factor)), max(1, round(difference.shape[2] * factor)))
            maps[layer] = (difference if factor == 1 else shrunk(difference, size)).astype(np.float32)
    return maps


def _attention(comparison: ShownComparison, columns: list[Column]) -> dict[int, npt.NDArray[np.float32]]:
    """For each layer tuned minus raw, (word, height, width), over all blocks and steps."""
    raw, tuned = comparison.raw.attention, comparison.tuned.attention
    if not columns or raw is None or tuned is None:
        return {}
    view = views_of(raw.plan)[0]
    rows = [row for row, column in enumerate(columns_of(comparison.raw.tokens)) if column.kind == "word"]
    both = [layer for layer in raw if layer in tuned]
    return {layer: (view_maps(tuned[layer], view) - view_maps(raw[layer], view))[rows] for layer in both}


def _packed(
    maps: dict[int, npt.NDArray[np.float32]], *, signed: bool
) -> tuple[dict[int, bytes], dict[str, float | int]]:
    """The maps as bytes, and their scale: 0 to 255 means 0 to `most`; signed, 1 to 255 means -`most` to `most`."""
    most = _most(maps.values())
    zero, steps = (_ZERO, _STEPS) if signed else (0, 255)
    unit = steps / most if most else 0.0
    packed = {layer: np.rint(zero + of_layer * unit).astype(np.uint8).tobytes() for layer, of_layer in maps.items()}
    height, width = next(iter(maps.values())).shape[1:]
    return packed, {"width": width, "height": height, "most": most}


def _most(maps: Iterable[npt.NDArray[np.float32]]) -> float:
    return max((float(np.abs(of_layer).max()) for of_layer in maps), default=0.0)
