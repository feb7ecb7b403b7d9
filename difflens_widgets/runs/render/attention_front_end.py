"""Attention maps as the traits and the bytes of a TokenAttentionGrid.

The maps of a layer are sent once, in one message, when its image is finished: one byte for each value, and for each map
one float32, the value that byte 255 stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..maps.maps import AttentionMaps, LensAttention
from ..maps.plan import Plan
from ..maps.resample import shrunk
from ..record import RunRecord
from ..tokens import Token, read_words, word_text
from .front_end import describe, frame, painted_frames, standing, steps_of

MIME = "application/x-difflens-maps"
_MAX_SIDE = 64  # pixels of a map that is sent: no cell, and hardly a picture, shows more
_MAX_STEP_SIDE = 32  # of a single step: there may be many
_SPECIAL = {"bos": "start", "eos": "end"}  # the column heads of special tokens
_PADDING = -1  # the number of the padding in the trait `token`, in every widget


@dataclass(frozen=True)
class Column:
    """One column: a word with all its tokens, the start token, the end token, all of the template, or all padding.

    Attributes
    ----------
    token : int
        The position of its first token; -1 for the padding.
    text : str
    kind : "word", "bos", "eos", "template" or "pad"
    positions : list of int
        The positions of its tokens.
    """

    token: int
    text: str
    kind: str
    positions: list[int]


@dataclass(frozen=True)
class View:
    """One choice of maps of a layer: of a block (None: all), at a step (None: all together), and their size."""

    block: str | None
    step: int | None
    height: int
    width: int


def maps_key(layer: int) -> str:
    """Give the key of the message with a layer's maps."""
    return f"maps/{layer}"


def columns_of(tokens: tuple[Token, ...]) -> list[Column]:
    """List the columns of a prompt: its words, then start, end, template and padding."""
    columns = [
        Column(word[0].index, word_text(word), "word", [piece.index for piece in word]) for word in read_words(tokens)
    ]
    columns += [Column(t.index, _SPECIAL[t.kind], t.kind, [t.index]) for t in tokens if t.kind in _SPECIAL]
    template = [token.index for token in tokens if token.kind == "template"]
    columns += [Column(template[0], "template", "template", template)] if template else []
    padding = [token.index for token in tokens if token.kind == "pad"]
    return [*columns, Column(_PADDING, "padding", "pad", padding)] if padding else columns


def views_of(plan: Plan) -> list[View]:
    """List what is sent of each layer: the maps of all blocks together, of each block, and of each step."""
    height, width = plan.grid
    views = [View(None, None, *_at_most(_MAX_SIDE, height, width))]
    for block in plan.blocks:
        views.append(View(block.name, None, *_at_most(_MAX_SIDE, *block.size(block.pool_factor))))
    return views + [View(None, step, *_at_most(_MAX_STEP_SIDE, height, width)) for step in plan.steps]


def view_maps(maps: AttentionMaps, view: View) -> npt.NDArray[np.float32]:
    """Compute one view of an image: (column, height, width), in the order of `columns_of`."""
    heatmaps = maps.token_heatmaps(block=view.block, step=view.step)
    rows = [maps.plan.rows_of(column.positions) for column in columns_of(maps.plan.tokens)]
    of_columns = np.stack([heatmaps[of_column].mean(0, dtype=np.float64) for of_column in rows])
    size = (view.height, view.width)
    return (of_columns if of_columns.shape[1:] == size else shrunk(of_columns, size)).astype(np.float32)


def encode_maps(maps: AttentionMaps, views: Sequence[View] | None = None) -> tuple[str, bytes]:
    """Encode some views of an image, by default all; gives the mime type and the bytes.

    First a little-endian float32 for each map, the value that byte 255 stands for; then a byte for each value, map
    after map, row by row.
    """
    scales: list[float] = []
    values: list[bytes] = []
    for view in views_of(maps.plan) if views is None else views:
        for of_column in view_maps(maps, view):
            scale = float(of_column.max())
            scales.append(scale)
            values.append(np.rint(of_column * (255 / scale if scale else 0)).astype(np.uint8).tobytes())
    return MIME, np.array(scales, dtype="<f4").tobytes() + b"".join(values)


def is_stock_picture(run: RunRecord) -> bool:
    """Tell whether this is one image of a stock pipeline, shown as a run of one layer."""
    return run.settings.get("method") == "picture"


def describe_attention(run: RunRecord, attention: LensAttention, views: Sequence[View] | None = None) -> dict[str, Any]:
    """Give the traits that describe a run and some views of its maps, by default all; without images and maps."""
    plan, state = attention.plan, describe(run)
    views = views_of(plan) if views is None else views
    if is_stock_picture(run):
        del state["settings"]["seed"]  # it is unknown
    return {
        **state,
        "columns": [asdict(column) for column in columns_of(plan.tokens)],
        "blocks": [view.block for view in views if view.block is not None],
        "steps": [view.step for view in views if view.step is not None],
        "aggregator": plan.aggregator,
        "_views": [asdict(view) for view in views],
    }


def attention_state(
    run: RunRecord, attention: LensAttention, number: int = 0, views: Sequence[View] | None = None
) -> dict[str, Any]:
    """Give the traits that show a run as it is now, with its images and some views of its maps, by default all."""
    maps = {maps_key(layer): frame(steps_of(run), number, *encode_maps(attention[layer], views)) for layer in attention}
    return {
        **describe_attention(run, attention, views),
        **standing(run),
        "_frames": {**painted_frames(run, number), **maps},
        "_run": number,
    }


def _at_most(largest: int, height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, largest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
