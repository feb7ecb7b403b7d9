"""Draws images in rows and columns on white, with labels; a cell without an image is an outline with a word in it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (64, 64, 64)
_HOLLOW = (208, 208, 208)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's built-in font, which exists on every machine."""
    return ImageFont.load_default(size)


def drawable(text: str) -> str:
    """The text with letters that Pillow's font has: it has no arrow."""
    return text.replace("←", "<-")


def fitting(text: str, width: float, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of the size, or smaller if the text would be wider than `width` pixels."""
    return font(max(7, min(size, int(size * width / max(font(size).getlength(text), 1)))))


def draw_cell(
    sheet: Image.Image, left: int, top: int, size: tuple[int, int], content: Image.Image | str, text_size: int
) -> None:
    """Paste an image, or draw the outline of a cell of this `size` with a word in the middle."""
    if isinstance(content, Image.Image):
        sheet.paste(content, (left, top))
        return
    width, height = size
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((left, top, left + width - 1, top + height - 1), outline=_HOLLOW, width=max(1, width // 128))
    pen.text((left + width / 2, top + height / 2), content, INK, font(text_size), anchor="mm")


def labelled_grid(
    cells: Sequence[Sequence[Image.Image | str]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    left: int,
    top: int,
    label_y: float,
    gutter: int,
    text_size: int,
) -> Image.Image:
    """Draw a grid of images with a label before each row and above each column.

    Parameters
    ----------
    cells : sequence of rows, each a sequence of PIL.Image or str
        An RGB image, or the word in an empty cell (may be ""). At least one is an image; all cells have the size of the
        largest image.
    rows, columns : sequence of str
        Labels; those of rows may have several lines.
    left, top : int
        Margins for the labels, in pixels.
    label_y : float
        Vertical center of the column labels, in pixels from the top.
    gutter : int
        Space between cells, in pixels.
    text_size : int
        In pixels.
    """
    sizes = [cell.size for row in cells for cell in row if isinstance(cell, Image.Image)]
    width, height = (max(size[axis] for size in sizes) for axis in (0, 1))
    across, down = width + gutter, height + gutter
    sheet = Image.new("RGB", (left + len(columns) * across, top + len(rows) * down), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(columns):
        label = drawable(label)
        pen.text(
            (left + column * across + width / 2, label_y), label, INK, fitting(label, across, text_size), anchor="mm"
        )
    for row, label in enumerate(rows):
        middle = (left - gutter, top + row * down + height / 2)
        pen.text(middle, drawable(label), INK, font(text_size), anchor="rm", align="right")
        for column, content in enumerate(cells[row]):
            draw_cell(sheet, left + column * across, top + row * down, (width, height), content, text_size)
    return sheet
