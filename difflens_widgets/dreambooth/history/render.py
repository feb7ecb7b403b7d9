"""The images of a training as one sheet, epochs across and layers down, or as a film of one layer. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ...runs.render.gif import write_film
from ...runs.render.grid import enlarged
from ...runs.render.labelled_grid import INK, font, labelled_grid
from .events import ValidationPrompt
from .runs import Runs

_LARGEST_CELL = 128  # pixels a side


def matrix(runs: Runs, prompts: Sequence[ValidationPrompt], index: int = 0) -> Image.Image:
    """Draw every image of a validation prompt: epochs across, layers down; a missing image is a hollow cell.

    Raises
    ------
    ValueError
        If there is no image, or a run cannot be read.
    """
    epochs = [epoch for epoch in runs.epochs if runs.has(epoch, index)]
    if not epochs:
        raise ValueError("this training has no images yet")
    layers = sorted(runs.get_one(epochs[0], index).layers)
    cells = {
        (epoch, layer): _cell(image)
        for epoch in epochs
        for layer, image in runs.get_one(epoch, index).images.items()
        if layer in layers
    }
    if not cells:
        raise ValueError("this training has no images yet")
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
    prompt = " ".join(prompts[index].prompt.split())
    pen.text((gutter, text), prompt, INK, font(text), anchor="lm")
    pen.text((gutter, top - text), "layer · epoch", INK, font(max(10, text * 2 // 3)), anchor="lm")
    return sheet


def to_gif(
    runs: Runs, prompts: Sequence[ValidationPrompt], path: Path, layer: int, index: int, seconds_per_epoch: float
) -> Path:
    """Write the images of one layer of a validation prompt, epoch by epoch, as an animated GIF.

    Raises
    ------
    ValueError
        If there is no such image, or `seconds_per_epoch` is not between 0.02 and 300.
    OSError
        If it cannot be written; a file that was there before is untouched.
    """
    epochs = [epoch for epoch in runs.epochs if runs.has(epoch, index)]
    images = {epoch: runs.get_one(epoch, index).images.get(layer) for epoch in epochs}
    known = {epoch: image for epoch, image in images.items() if image is not None}
    if not known:
        raise ValueError(f"layer: there is no image of layer {layer} of validation prompt {index}")
    frames = {f"epoch {epoch}": image for epoch, image in enlarged(known).items()}
    what = f"the film of {prompts[index].prompt[:40]!r}"
    return write_film(frames, path, seconds_per_epoch, what, "seconds_per_epoch")


def _cell(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail((_LARGEST_CELL, _LARGEST_CELL), Image.Resampling.LANCZOS)
    return small
