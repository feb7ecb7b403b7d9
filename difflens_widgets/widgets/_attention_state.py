"""Attention maps as the traits and the bytes of a TokenAttentionGrid.

The maps of a layer are sent once, in one message, when its image is finished: one byte for each value, and for each map
one float32, the value that byte 255 stands for.
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
    rows = [[-1] if column.kind == "pad" else column.positions for column in columns_of(maps.plan.tokens)]
    of_columns = np.stack([heatmaps[of_column].mean(0, dtype=np.float64) for of_column in rows])
    size = (view.height, view.width)
    return (of_columns if of_columns.shape[1:] == size else shrunk(of_columns, size)).astype(np.float32)


def encode_maps(maps: AttentionMaps) -> tuple[str, bytes]:
    """Encode all views of an image; gives the mime type and the bytes.

    First a little-endian float32 for each map, the value that byte 255 stands for; then a byte for each value, map
    after map, row by row.
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
    """Make a run of one layer from one image and its maps.

    Raises
    ------
    ValueError
        If the maps are of an image of another size.
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
    """Tell whether `stock_picture` made this run."""
    return run.settings.get("method") == "picture"


def describe_attention(run: LensRun, attention: LensAttention) -> dict[str, Any]:
    """Give the traits that describe a run and its maps, without images and maps."""
    plan, state = attention.plan, describe(run)
    if is_stock_picture(run):
        del state["settings"]["seed"]  # it is unknown
    return {
        **state,
        "columns": [asdict(column) for column in columns_of(plan.tokens)],
        "blocks": [block.name for block in plan.blocks],
        "steps": list(plan.steps),
        "aggregator": plan.aggregator,
        "_views": [asdict(view) for view in views_of(plan)],
    }


def attention_state(run: LensRun, attention: LensAttention, number: int = 0) -> dict[str, Any]:
    """Give the traits that show a run as it is now, with its images and maps."""
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
