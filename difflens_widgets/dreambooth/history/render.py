"""The pictures of a training as one sheet, epochs across and layers down, or as a film of one layer. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from ...runs.render.gif import write_film
from ...runs.render.grid import INK, PAPER, enlarged, font

if TYPE_CHECKING:
    from .history import TrainingHistory

_LARGEST_CELL = 128  # pixels a side
_HOLLOW = (208, 208, 208)


def matrix(history: TrainingHistory, probe: int = 0) -> Image.Image:
    """Every picture of a probe: epochs across, layers down; what was not painted is a hollow cell.

    Raises
    ------
    ValueError
        If nothing was painted, or a run cannot be read.
    """
    epochs = [epoch for epoch in history.epochs if history.has(epoch, probe)]
    if not epochs:
        raise ValueError("this training has no pictures yet")
    layers = sorted(history.run(epochs[0], probe).layers)
    cells = {
        (epoch, layer): _cell(image)
        for epoch in epochs
        for layer, image in history.run(epoch, probe).images.items()
        if layer in layers
    }
    if not cells:
        raise ValueError("this training has no pictures yet")
    width, height = (max(cell.size[axis] for cell in cells.values()) for axis in (0, 1))
    gutter, text = max(4, width // 16), max(12, width // 8)
    side, top = text * 5, 2 * text * 2
    sheet = Image.new("RGB", (side + len(epochs) * (width + gutter), top + len(layers) * (height + gutter)), PAPER)
    pen = ImageDraw.Draw(sheet)
    prompt = " ".join(history.probes[probe].prompt.split())
    pen.text((gutter, text), prompt, INK, font(text), anchor="lm")
    pen.text((gutter, top - text), "layer · epoch", INK, font(max(10, text * 2 // 3)), anchor="lm")
    for across, epoch in enumerate(epochs):
        left = side + across * (width + gutter)
        pen.text((left + width / 2, top - text), str(epoch), INK, font(text), anchor="mm")
        for down, layer in enumerate(layers):
            place = left, top + down * (height + gutter)
            cell = cells.get((epoch, layer))
            if cell is not None:
                sheet.paste(cell, place)
            else:
                pen.rectangle((*place, place[0] + width - 1, place[1] + height - 1), outline=_HOLLOW)
    for down, layer in enumerate(layers):
        pen.text((side - gutter, top + down * (height + gutter) + height / 2), str(layer), INK, font(text), anchor="rm")
    return sheet


def to_gif(history: TrainingHistory, path: Path, layer: int, probe: int, seconds_per_epoch: float) -> Path:
    """Write what one layer of a probe becomes from epoch to epoch.

    Raises
    ------
    ValueError
        If there is no such picture, or `seconds_per_epoch` is not between 0.02 and 300.
    OSError
        If it cannot be written; a file that was there before is untouched.
    """
    epochs = [epoch for epoch in history.epochs if history.has(epoch, probe)]
    images = {epoch: history.run(epoch, probe).images.get(layer) for epoch in epochs}
    known = {epoch: image for epoch, image in images.items() if image is not None}
    if not known:
        raise ValueError(f"layer: there is no picture of layer {layer} of probe {probe}")
    frames = {f"epoch {epoch}": image for epoch, image in enlarged(known).items()}
    what = f"the film of {history.probes[probe].prompt[:40]!r}"
    return write_film(frames, path, seconds_per_epoch, what, "seconds_per_epoch")


def _cell(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail((_LARGEST_CELL, _LARGEST_CELL), Image.Resampling.LANCZOS)
    return small
