"""The pictures of a run as one picture, in the order of their layers, whatever order was asked.

Small pictures are enlarged by a whole factor without smoothing, to at least 128 pixels a side.
"""

from __future__ import annotations

import io
import math

from PIL import Image, ImageDraw

from ..record import RunRecord
from .labelled_grid import INK, PAPER, draw_cell, font

_SMALLEST_SIDE = 128


def painted(run: RunRecord) -> dict[int, Image.Image]:
    """The pictures so far, by ascending layer.

    Raises
    ------
    ValueError
        If there are none.
    """
    images = dict(run.images)  # a worker thread may add to the run's own
    if not images:
        raise ValueError("this run has no pictures yet")
    return dict(sorted(images.items()))


def enlarged(images: dict[int, Image.Image]) -> dict[int, Image.Image]:
    """RGB, all by the one whole factor that brings the smallest to at least 128 pixels."""
    factor = max(1, math.ceil(_SMALLEST_SIDE / min(min(image.size) for image in images.values())))
    return {
        layer: image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        for layer, image in images.items()
    }


def columns_for(count: int) -> int:
    """How many pictures of `count` stand in a row: about twice as many as there are rows."""
    return math.ceil(count / max(1, round(math.sqrt(count / 2))))


def missing(run: RunRecord, layer: int) -> str:
    """Why a layer that was asked for has no picture, in a word or two."""
    return "failed" if layer in run.failures else "not computed"


def grid(run: RunRecord, columns: int | None = None) -> Image.Image:
    """Place the pictures of all layers asked for on white, each over its layer number.

    A layer without a picture is a hollow cell that says "not computed", or "failed".

    Parameters
    ----------
    columns : int, optional
        Pictures in a row; by default about twice as many as there are rows.

    Raises
    ------
    ValueError
        If the run has no pictures yet, or `columns` is not a positive whole number.
    """
    pictures = enlarged(painted(run))
    layers = sorted({*run.layers, *pictures})
    if columns is None:
        columns = columns_for(len(layers))
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise ValueError(f"columns is {columns!r}, a whole number of at least 1 was expected")
    columns = min(columns, len(layers))
    rows = math.ceil(len(layers) / columns)

    width = max(picture.width for picture in pictures.values())
    height = max(picture.height for picture in pictures.values())
    gutter, text_size = max(8, width // 16), max(13, width // 12)
    label = round(text_size * 1.7)
    across, down = width + gutter, height + label + gutter // 2
    sheet = Image.new("RGB", (gutter + columns * across, gutter + rows * down), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, layer in enumerate(layers):
        left, top = gutter + place % columns * across, gutter + place // columns * down
        draw_cell(sheet, left, top, (width, height), pictures.get(layer, missing(run, layer)), text_size)
        pen.text((left + width / 2, top + height + label / 2), run.name_of(layer), INK, font(text_size), anchor="mm")
    return sheet


def png(image: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
