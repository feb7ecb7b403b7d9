"""The still image of a TokenAttentionGrid, for places where no widget can run: layers × words, maps over images."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ..maps.maps import LensAttention
from ..record import RunRecord
from .attention_front_end import columns_of, view_maps, views_of
from .heat_colors import coloured
from .labelled_grid import INK, PAPER, font

_CELL = 56  # pixels
_GAP = 4
_LEFT = 92
_LINE = 24
_TEXT = 11
_MIN_WIDTH = 320
_MAX_ROWS, _MAX_COLUMNS = 13, 12
_OPACITY = 0.65


def draw_still(run: RunRecord, attention: LensAttention) -> Image.Image:
    """Draw the words' maps of each finished layer, or of each block if there is one layer; all in one color range."""
    layers = [layer for layer in attention if layer in run.images]
    words = [column for column in columns_of(attention.plan.tokens) if column.kind == "word"]
    shown = words[:_MAX_COLUMNS]
    views = views_of(attention.plan)
    if len(layers) > 1:
        rows = [(run.name_of(layer), layer, views[0]) for layer in _spread(layers, _MAX_ROWS)]
    else:
        of_blocks = [view for view in views if view.step is None][:_MAX_ROWS]
        rows = [(view.block or "all blocks", layer, view) for layer in layers for view in of_blocks]
    maps = [view_maps(attention[layer], view)[: len(shown)] for _, layer, view in rows]
    most = max((float(of_row.max()) for of_row in maps if of_row.size), default=0.0)
    cells = [
        [_over(run.images[layer], of_cell / (most or 1.0)) for of_cell in of_row]
        for (_, layer, _), of_row in zip(rows, maps, strict=True)
    ]
    left_out = f"; {len(words) - len(shown)} more words" if len(words) > len(shown) else ""
    foot = f"{range_text(attention, most)}{left_out}"
    return _sheet([name for name, _, _ in rows], [column.text for column in shown], cells, foot)


def range_text(attention: LensAttention, most: float) -> str:
    """Say in words and numbers what the colors mean."""
    unit = "share of attention" if attention.plan.aggregator == "mean" else "attention (DAAM, summed over steps)"
    return f"{unit}: dark 0, bright {most:.2g}"


def _over(picture: Image.Image, shares: np.ndarray) -> Image.Image:
    """Draw a map over its image, as wide as a cell."""
    small = picture.convert("RGB").resize((_CELL, max(1, round(_CELL * picture.height / picture.width))))
    heat = Image.fromarray(coloured(shares)).resize(small.size, Image.Resampling.NEAREST)
    return Image.blend(small, heat, _OPACITY)


def _sheet(names: list[str], words: list[str], cells: list[list[Image.Image]], foot: str) -> Image.Image:
    across, down = _CELL + _GAP, max((cell.height for row in cells for cell in row), default=0) + _GAP
    width = max(_LEFT + len(words) * across + _GAP, _MIN_WIDTH)
    sheet = Image.new("RGB", (width, 2 * _LINE + len(names) * down), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, word in enumerate(words):
        center = (_LEFT + column * across + _CELL / 2, _LINE / 2)
        pen.text(center, _cut(word, 9), INK, font(_TEXT), anchor="mm")
    for row, (name, of_row) in enumerate(zip(names, cells, strict=True)):
        top = _LINE + row * down
        pen.text((_LEFT - 6, top + down / 2), _cut(name, 14), INK, font(_TEXT), anchor="rm")
        for column, cell in enumerate(of_row):
            sheet.paste(cell, (_LEFT + column * across, top))
    pen.text((_GAP, sheet.height - _LINE / 2), foot, INK, font(_TEXT), anchor="lm")
    return sheet


def _spread(layers: list[int], most: int) -> list[int]:
    """Choose at most `most` layers at even distances, with the first and the last one."""
    if len(layers) <= most:
        return layers
    return [layers[round(index * (len(layers) - 1) / (most - 1))] for index in range(most)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
