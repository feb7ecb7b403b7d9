"""Images as an animated GIF, each with its name."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ..format.atomic_write import replacing
from ..record import RunRecord
from .grid import enlarged, painted, variant_cells, variant_missing
from .labelled_grid import INK, PAPER, font, labelled_grid

_FASTEST, _SLOWEST = 0.02, 300.0  # seconds per layer: the browsers' minimum, and half of GIF's maximum


def to_gif(run: RunRecord, path: Path, seconds_per_layer: float) -> Path:
    """Write an animated GIF from the first layer to the last, at least 128 pixels a side, with the layer in a corner.

    It loops forever; the last image stays twice as long. A frame of a patch or of steering has the unchanged image and
    that of each variant side by side.

    Raises
    ------
    ValueError
        If the run has no images yet, or `seconds_per_layer` is not between 0.02 and 300.
    OSError
        If the file cannot be written; an existing file does not change.
    """
    if run.variants:
        pictures = _variant_frames(run)
    else:
        pictures = {run.name_of(layer): picture for layer, picture in enlarged(painted(run)).items()}
    return write_film(pictures, path, seconds_per_layer, f"the film of {run.prompt[:40]!r}", "seconds_per_layer")


def _variant_frames(run: RunRecord) -> dict[str, Image.Image]:
    """A frame for each layer: the images of all variants side by side, with their labels over them."""
    pictures, rows = variant_cells(run), (None, *run.variants)
    width = max(picture.width for picture in pictures.values())
    names = [run.name_of(0) if row is None else str(row) for row in rows]
    text_size = max(13, width // 12)
    gutter, top = max(4, width // 32), round(text_size * 1.7)
    sheets = {
        run.place_of(layer): labelled_grid(
            [[pictures.get((layer, row), variant_missing(run, layer, row)) for row in rows]],
            [""],
            names,
            left=0,
            top=top,
            label_y=top / 2,
            gutter=gutter,
            text_size=text_size,
        )
        for layer in sorted(run.layers)
    }
    # below the images there is room for the name of the frame
    return {name: ImageOps.expand(sheet, (0, 0, 0, sheet.height // 4), PAPER) for name, sheet in sheets.items()}


def write_film(pictures: dict[str, Image.Image], path: Path, seconds: float, what: str, speed: str) -> Path:
    """Write images as a GIF, each with its name; `what` is the content and `speed` the argument's name, for errors."""
    if not _FASTEST <= seconds <= _SLOWEST:
        raise ValueError(f"{speed} is {seconds!r}, expected {_FASTEST} to {_SLOWEST:g}")
    longest = max(pictures, key=len)
    frames = [_frame(picture, name, longest) for name, picture in pictures.items()]
    duration = round(seconds * 100) * 10  # GIF counts in units of 10 ms
    durations = [*[duration] * (len(frames) - 1), 2 * duration]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    with replacing(path, what) as file:
        file.write(buffer.getbuffer())
    return path


def _frame(picture: Image.Image, name: str, longest: str) -> Image.Image:
    """Draw the name in the lower left corner, on paper as wide as `longest`; reduce the frame to its own 256 colors."""
    frame = picture.copy()
    size = max(13, min(frame.width // 20, frame.height // 8))
    pen = ImageDraw.Draw(frame)
    width = math.ceil(pen.textlength(longest, font(size))) + size
    top = frame.height - round(size * 1.6)
    pen.rectangle((0, top, width - 1, frame.height - 1), PAPER)
    pen.text((size / 2, (top + frame.height) / 2), name, INK, font(size), anchor="lm")
    palette = frame.quantize(256, Image.Quantize.MEDIANCUT)
    colours = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    # Pillow looks up white as 252, 252, 252: another pale color could be nearer, and tint the paper of the name
    apart = np.linalg.norm(colours - 252.0, axis=1)
    colours[apart <= max(3 * 3**0.5, apart.min())] = PAPER
    palette.putpalette(colours.tobytes())
    return frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
