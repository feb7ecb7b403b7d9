"""A comparison as one picture: a row for each model, a column for each layer, all on white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ...runs.render.grid import INK, PAPER, enlarged, font, missing
from ...runs.run import LensRun

NAMES = {
    "raw": "raw",
    "tuned": "tuned",
    "tuned-raw": "tuned encoder\nraw U-Net",
    "raw-tuned": "raw encoder\ntuned U-Net",
}
_HOLLOW = (208, 208, 208)


def grid(runs: Mapping[str, LensRun], layers: Sequence[int]) -> Image.Image:
    """Place the pictures of all runs, raw first; what has no picture is a hollow cell that says so.

    Raises
    ------
    ValueError
        If no run has any picture yet.
    """
    pictures = {(name, k): image for name, run in runs.items() for k, image in dict(run.images).items()}
    if not pictures:
        raise ValueError("this comparison has no pictures yet")
    numbers = dict(enumerate(pictures))
    large = enlarged({number: pictures[key] for number, key in numbers.items()})
    pictures = {numbers[number]: image for number, image in large.items()}
    width = max(picture.width for picture in pictures.values())
    height = max(picture.height for picture in pictures.values())
    gutter, text_size = max(8, width // 16), max(13, width // 12)
    left, line = round(text_size * 8.5), round(text_size * 1.7)
    size = (left + len(layers) * (width + gutter), gutter + line + len(runs) * (height + gutter))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, layer in enumerate(layers):
        x = left + column * (width + gutter)
        name = runs["raw"].name_of(layer) if len(layers) < 4 or not column else str(layer)
        pen.text((x + width / 2, gutter / 2 + line / 2), name, INK, font(text_size), anchor="mm")
        for row, (name, run) in enumerate(runs.items()):
            y = gutter + line + row * (height + gutter)
            if (name, layer) in pictures:
                sheet.paste(pictures[name, layer], (x, y))
            else:
                pen.rectangle((x, y, x + width - 1, y + height - 1), outline=_HOLLOW, width=max(1, width // 128))
                pen.text((x + width / 2, y + height / 2), missing(run, layer), INK, font(text_size), anchor="mm")
    for row, name in enumerate(runs):
        y = gutter + line + row * (height + gutter)
        place = (left - gutter, y + height / 2)
        pen.multiline_text(place, NAMES[name], INK, font(text_size), anchor="rm", align="right")
    return sheet
