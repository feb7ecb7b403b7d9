"""A comparison as the traits of a DiffViewer: pictures, metrics, and maps with one byte a pixel, on one scale."""

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
_LARGEST = 256  # pixels a side of a difference map that is sent
_ZERO, _STEPS = 128, 127  # attention: the byte of no difference, and the number of bytes on each side of it


def diff_state(comparison: Comparison, number: int = 0) -> dict[str, Any]:
    """Return the traits that show a comparison, with pictures and maps; `number` counts those that a widget showed."""
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
        "notice": comparison.note,
        "models": {name: str(run.settings.get("model", "")) for name, run in comparison.runs.items()},
        "metrics": metrics_of(comparison),
        "columns": [asdict(column) for column in columns if "attention" in scales],
        "_scales": scales,
        "_frames": frames,
        "_run": number,
    }


def metrics_of(comparison: Comparison) -> list[dict[str, Any]]:
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


def word_columns(comparison: Comparison) -> list[Column]:
    """Return the words whose attention can be compared: all of the prompt if both runs captured it in the same way."""
    plans = [run.attention.plan for run in (comparison.raw, comparison.tuned) if run.attention is not None]
    if len(plans) < 2 or (plans[0].grid, plans[0].aggregator) != (plans[1].grid, plans[1].aggregator):
        return []
    return [column for column in columns_of(comparison.raw.tokens) if column.kind == "word"]


def _differences(comparison: Comparison) -> dict[int, npt.NDArray[np.float32]]:
    """One map (1, height, width) for each layer that both have painted."""
    maps = {}
    for layer in comparison.layers:
        both = layer in comparison.raw.images and layer in comparison.tuned.images
        if both and layer not in comparison.not_comparable:
            difference = comparison.difference(layer)[None]
            factor = min(1.0, _LARGEST / max(difference.shape))
            size = (max(1, round(difference.shape[1] * factor)), max(1, round(difference.shape[2] * factor)))
            maps[layer] = (difference if factor == 1 else shrunk(difference, size)).astype(np.float32)
    return maps


def _attention(comparison: Comparison, columns: list[Column]) -> dict[int, npt.NDArray[np.float32]]:
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
