"""Draws the images of a run in one grid, in ascending order of the layers.

Small images are enlarged by an integer factor without smoothing, to at least 128 pixels a side.
"""

from __future__ import annotations

import io
import math
import textwrap
from typing import TypeVar

from PIL import Image, ImageDraw

from ..record import RunRecord
from ..tokens import TokenKey
from .labelled_grid import INK, PAPER, draw_cell, fitting, labelled_grid

_SMALLEST_SIDE = 128
_LABEL_LETTERS = 18

T = TypeVar("T")


def painted(run: RunRecord) -> dict[int, Image.Image]:
    """The images so far, by ascending layer.

    Raises
    ------
    ValueError
        If there are none.
    """
    images = dict(run.images)  # a worker thread may change the original
    if not images:
        raise ValueError("this run has no pictures yet")
    return dict(sorted(images.items()))


def enlarged(images: dict[T, Image.Image]) -> dict[T, Image.Image]:
    """The images as RGB, all enlarged by one integer factor, so that the smallest has at least 128 pixels a side."""
    factor = max(1, math.ceil(_SMALLEST_SIDE / min(min(image.size) for image in images.values())))
    return {
        layer: image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        for layer, image in images.items()
    }


def columns_for(count: int) -> int:
    """Number of columns for `count` images: about twice the number of rows."""
    return math.ceil(count / max(1, round(math.sqrt(count / 2))))


def missing(run: RunRecord, layer: int) -> str:
    """Why a requested layer has no image, in a word or two."""
    return "failed" if layer in run.failures else "not computed"


def grid(run: RunRecord, columns: int | None = None) -> Image.Image:
    """Draw the images of all requested layers on white, each above its layer number.

    A layer without an image is an empty cell with the word "not computed" or "failed". A patch or steering has a row
    for each variant below the unchanged image, and a column for each layer; `columns` is not used.

    Parameters
    ----------
    columns : int, optional
        Number of columns; by default about twice the number of rows.

    Raises
    ------
    ValueError
        If the run has no images yet, or `columns` is not a positive integer.
    """
    if run.variants:
        return _variant_grid(run)
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
        name = run.name_of(layer)
        middle = (left + width / 2, top + height + label / 2)
        pen.text(middle, name, INK, fitting(name, across - 4, text_size), anchor="mm")
    return sheet


def variant_cells(run: RunRecord) -> dict[tuple[int, TokenKey | None], Image.Image]:
    """All images of a run with variants, enlarged; those without a variant have the token None."""
    images: dict[tuple[int, TokenKey | None], Image.Image] = {(k, None): image for k, image in painted(run).items()}
    return enlarged(images | dict(run.token_images))


def _variant_grid(run: RunRecord) -> Image.Image:
    pictures, layers = variant_cells(run), sorted(run.layers)
    rows = (None, *run.variants)
    width = max(picture.width for picture in pictures.values())
    gutter, text_size = max(8, width // 16), max(13, width // 12)
    names = [textwrap.fill(run.name_of(0) if row is None else str(row), _LABEL_LETTERS) for row in rows]
    longest = max(len(line) for name in names for line in name.splitlines())
    top = gutter + round(text_size * 1.7)
    return labelled_grid(
        [[pictures.get((layer, row), variant_missing(run, layer, row)) for layer in layers] for row in rows],
        names,
        [run.place_of(layer) if len(layers) < 4 or not column else str(layer) for column, layer in enumerate(layers)],
        left=2 * gutter + round(text_size * 0.62 * longest),
        top=top,
        label_y=top / 2,
        gutter=gutter,
        text_size=text_size,
    )


def variant_missing(run: RunRecord, layer: int, token: TokenKey | None) -> str:
    """Why an image is missing, in a word or two."""
    if token is None:
        return missing(run, layer)
    return "failed" if (layer, token) in run.token_failures else "not computed"


def png(image: Image.Image) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
