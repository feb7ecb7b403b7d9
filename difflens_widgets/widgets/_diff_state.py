"""A comparison as the traits of a DiffViewer: pictures, measures, and maps of a byte a pixel on one scale for all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..analysis.comparison.comparison import Comparison
from ..runs.maps.resample import shrunk
from ..runs.render.encoding import encode_final
from ..runs.render.front_end import describe, frame, standing, steps_of
from ._attention_state import Column, columns_of, view_maps, views_of

MIME = "application/x-difflens-plane"
_LARGEST = 256  # pixels a side of a difference map on its way
_ZERO, _STEPS = 128, 127  # the byte of no difference in attention, and how many there are on each side of it


def diff_state(comparison: Comparison, number: int = 0) -> dict[str, Any]:
    """The traits that show a comparison, pictures and maps included; `number` counts those a widget has shown."""
    raw = comparison.raw
    steps = steps_of(raw)
    frames = {
        f"{name}/{layer}": frame(steps, number, *encode_final(image))
        for name, run in comparison.runs.items()
        for layer, image in sorted(run.images.items())
    }
    columns = word_columns(comparison)
    scales = {}
    for kind, maps in (("difference", _differences(comparison)), ("attention", _attention(comparison, columns))):
        if maps:
            packed, scales[kind] = _packed(maps, signed=kind == "attention")
            frames.update({f"{kind}/{layer}": frame(steps, number, MIME, data) for layer, data in packed.items()})
    unfinished = [run for run in comparison.runs.values() if run.status != "done"]
    return {
        **describe(raw),
        **standing(next(iter(unfinished), raw)),
        "failures": {f"{name}/{k}": why for name, run in comparison.runs.items() for k, why in run.failures.items()},
        "notice": "",
        "models": {name: str(run.settings.get("model", "")) for name, run in comparison.runs.items()},
        "measures": measures_of(comparison),
        "columns": [asdict(column) for column in columns if "attention" in scales],
        "_scales": scales,
        "_frames": frames,
        "_run": number,
    }


def measures_of(comparison: Comparison) -> list[dict[str, Any]]:
    """What the sparkline can show, each with its values over the layers; None where there is none."""
    measures = []
    for chart in comparison.charts:
        series = [
            {"label": label, "values": [v if math.isfinite(v) else None for v in comparison.metrics[name].tolist()]}
            for label, name in chart.series
        ]
        itself = chart.itself
        measures.append(
            {"name": chart.name, "label": chart.label, "unit": chart.unit, "itself": itself, "series": series}
        )
    return measures


def word_columns(comparison: Comparison) -> list[Column]:
    """The words whose attention can be compared: of all of the prompt, where both runs have captured it alike."""
    plans = [run.attention.plan for run in (comparison.raw, comparison.tuned) if run.attention is not None]
    if len(plans) < 2 or (plans[0].grid, plans[0].aggregator) != (plans[1].grid, plans[1].aggregator):
        return []
    return [column for column in columns_of(comparison.raw.tokens) if column.kind == "word"]


def _differences(comparison: Comparison) -> dict[int, npt.NDArray[np.float32]]:
    """Of each layer painted by both: one map (1, height, width)."""
    maps = {}
    for layer in comparison.layers:
        if layer in comparison.raw.images and layer in comparison.tuned.images:
            apart = comparison.difference(layer)[None]
            factor = min(1.0, _LARGEST / max(apart.shape))
            size = (max(1, round(apart.shape[1] * factor)), max(1, round(apart.shape[2] * factor)))
            maps[layer] = (apart if factor == 1 else shrunk(apart, size)).astype(np.float32)
    return maps


def _attention(comparison: Comparison, columns: list[Column]) -> dict[int, npt.NDArray[np.float32]]:
    """Of each layer: tuned minus raw, (word, height, width), all blocks and steps together."""
    raw, tuned = comparison.raw.attention, comparison.tuned.attention
    if not columns or raw is None or tuned is None:
        return {}
    view = views_of(raw.plan)[0]
    rows = [place for place, column in enumerate(columns_of(comparison.raw.tokens)) if column.kind == "word"]
    both = [layer for layer in raw if layer in tuned]
    return {layer: (view_maps(tuned[layer], view) - view_maps(raw[layer], view))[rows] for layer in both}


def _packed(
    maps: dict[int, npt.NDArray[np.float32]], *, signed: bool
) -> tuple[dict[int, bytes], dict[str, float | int]]:
    """The maps as bytes, and what they mean: 0 to 255 is 0 to `most`; signed, 1 to 255 is -`most` to `most`."""
    most = _most(maps.values())
    zero, steps = (_ZERO, _STEPS) if signed else (0, 255)
    unit = steps / most if most else 0.0
    packed = {layer: np.rint(zero + of_layer * unit).astype(np.uint8).tobytes() for layer, of_layer in maps.items()}
    height, width = next(iter(maps.values())).shape[1:]
    return packed, {"width": width, "height": height, "most": most}


def _most(maps: Iterable[npt.NDArray[np.float32]]) -> float:
    return max((float(np.abs(of_layer).max()) for of_layer in maps), default=0.0)
