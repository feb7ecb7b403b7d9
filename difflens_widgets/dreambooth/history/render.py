"""The pictures of a training as one sheet, epochs across and layers down, or as a film of one layer. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from ...runs.render.gif import write_film
from ...runs.render.grid import enlarged
from ...runs.render.labelled_grid import INK, font, labelled_grid

if TYPE_CHECKING:
    from .history import TrainingHistory

_LARGEST_CELL = 128  # pixels a side


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
    width = max(cell.width for cell in cells.values())
    gutter, text = max(4, width // 16), max(12, width // 8)
    top = 2 * text * 2
    sheet = labelled_grid(
        [[cells.get((epoch, layer), "") for epoch in epochs] for layer in layers],
        [str(layer) for layer in layers],
        [str(epoch) for epoch in epochs],
        left=text * 5,
        top=top,
        label_y=top - text,
        gutter=gutter,
        text_size=text,
    )
    pen = ImageDraw.Draw(sheet)
    prompt = " ".join(history.probes[probe].prompt.split())
    pen.text((gutter, text), prompt, INK, font(text), anchor="lm")
    pen.text((gutter, top - text), "layer · epoch", INK, font(max(10, text * 2 // 3)), anchor="lm")
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
