"""Attention maps as the traits and the bytes of a TokenAttentionGrid.

The maps of a layer travel once, when it is painted: all of them in one piece, a byte for each value and one float32
for each map, which 255 stands for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..runs.maps.maps import AttentionMaps, LensAttention
from ..runs.maps.plan import Plan
from ..runs.maps.resample import shrunk
from ..runs.render.front_end import describe, frame, painted_frames, standing, steps_of
from ..runs.run import LensRun
from ..runs.tokens import Token, read_words, word_text

MIME = "application/x-difflens-maps"
_LARGEST = 64  # pixels a side of a map on its way; no cell and hardly a picture shows more
_LARGEST_STEP = 32  # of a single step: there may be many
_SPECIAL = {"bos": "start", "eos": "end"}  # what the heads of special tokens say
_PADDING = -1  # what `token` calls it, as everywhere


@dataclass(frozen=True)
class Column:
    """What has a map of its own: a word with all its pieces, the start token, the end token, all padding together."""

    token: int
    text: str
    kind: str
    places: list[int]


@dataclass(frozen=True)
class View:
    """One way to look at a layer's picture: by a block (None: all), at a step (None: all together)."""

    block: str | None
    step: int | None
    height: int
    width: int


def maps_key(layer: int) -> str:
    """The name under which the maps of a layer travel."""
    return f"maps/{layer}"


def columns_of(tokens: tuple[Token, ...]) -> list[Column]:
    """The columns of a prompt: its words, then start, end and padding."""
    columns = [
        Column(word[0].index, word_text(word), "word", [piece.index for piece in word]) for word in read_words(tokens)
    ]
    columns += [Column(t.index, _SPECIAL[t.kind], t.kind, [t.index]) for t in tokens if t.kind in _SPECIAL]
    padding = [token.index for token in tokens if token.kind == "pad"]
    return [*columns, Column(_PADDING, "padding", "pad", padding)] if padding else columns


def views_of(plan: Plan) -> list[View]:
    """All that is sent of each layer: every block's maps and those of all blocks together, and these at each step."""
    height, width = plan.grid
    views = [View(None, None, *_at_most(_LARGEST, height, width))]
    for block in plan.blocks:
        size = _at_most(_LARGEST, block.height >> block.halved, block.width >> block.halved)
        views.append(View(block.name, None, *size))
    return views + [View(None, step, *_at_most(_LARGEST_STEP, height, width)) for step in plan.steps]


def view_maps(maps: AttentionMaps, view: View) -> npt.NDArray[np.float32]:
    """One view of a picture: (column, height, width), in the order of `columns_of`."""
    of_tokens = maps.of_tokens(block=view.block, step=view.step)
    places = [[-1] if column.kind == "pad" else column.places for column in columns_of(maps.plan.tokens)]
    of_columns = np.stack([of_tokens[rows].mean(0, dtype=np.float64) for rows in places])
    size = (view.height, view.width)
    return (of_columns if of_columns.shape[1:] == size else shrunk(of_columns, size)).astype(np.float32)


def encode_maps(maps: AttentionMaps) -> tuple[str, bytes]:
    """Mime type and bytes of all views of a picture, one after another.

    First what 255 stands for, a little-endian float32 for each map, then a byte for each value, row by row.
    """
    scales: list[float] = []
    values: list[bytes] = []
    for view in views_of(maps.plan):
        for of_column in view_maps(maps, view):
            scale = float(of_column.max())
            scales.append(scale)
            values.append(np.rint(of_column * (255 / scale if scale else 0)).astype(np.uint8).tobytes())
    return MIME, np.array(scales, dtype="<f4").tobytes() + b"".join(values)


def stock_picture(maps: AttentionMaps, picture: Image.Image) -> LensRun:
    """One picture and its maps as a run of one layer.

    Raises
    ------
    ValueError
        If the maps are of a picture of another size.
    """
    plan = maps.plan
    if picture.size != (plan.width, plan.height):
        raise ValueError(
            f"the picture has {picture.width} × {picture.height} pixels; the maps are of one with "
            f"{plan.width} × {plan.height}"
        )
    run = LensRun(" ".join(maps.words), plan.tokens, (0,), 1, 0, {"method": "picture"}, images={0: picture})
    run.attention, run.status = LensAttention(plan), "done"
    run.attention.add(0, maps)
    return run


def is_stock_picture(run: LensRun) -> bool:
    """Whether a run is one picture, as made by `stock_picture`."""
    return run.settings.get("method") == "picture"


def describe_attention(run: LensRun, attention: LensAttention) -> dict[str, Any]:
    """What a run and its maps are, without the maps."""
    plan, state = attention.plan, describe(run)
    if is_stock_picture(run):
        del state["settings"]["seed"]  # nobody knows
    return {
        **state,
        "columns": [asdict(column) for column in columns_of(plan.tokens)],
        "blocks": [block.name for block in plan.blocks],
        "steps": list(plan.steps),
        "aggregator": plan.aggregator,
        "_views": [asdict(view) for view in views_of(plan)],
    }


def attention_state(run: LensRun, attention: LensAttention, number: int = 0) -> dict[str, Any]:
    """The traits that show a run as it stands, pictures and maps included; nothing of it will change by itself."""
    maps = {maps_key(layer): frame(steps_of(run), number, *encode_maps(attention[layer])) for layer in attention}
    return {
        **describe_attention(run, attention),
        **standing(run),
        "_frames": {**painted_frames(run, number), **maps},
        "_run": number,
    }


def _at_most(largest: int, height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, largest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
