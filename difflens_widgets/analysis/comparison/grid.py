"""A comparison as one picture: a row for each model, a column for each layer, on white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from ...runs.render.grid import enlarged, missing
from ...runs.render.labelled_grid import labelled_grid
from ...runs.run import LensRun

NAMES = {
    "raw": "raw",
    "tuned": "tuned",
    "tuned-raw": "tuned encoder\nraw U-Net",
    "raw-tuned": "raw encoder\ntuned U-Net",
}


def grid(runs: Mapping[str, LensRun], layers: Sequence[int]) -> Image.Image:
    """Draw the pictures of all runs, raw first; a layer without a picture is a hollow cell that says why.

    Raises
    ------
    ValueError
        If no run has a picture yet.
    """
    keys = [(name, layer) for name, run in runs.items() for layer in layers if layer in run.images]
    if not keys:
        raise ValueError("this comparison has no pictures yet")
    large = enlarged({number: runs[name].images[layer] for number, (name, layer) in enumerate(keys)})
    pictures = dict(zip(keys, large.values(), strict=True))
    width = max(picture.width for picture in large.values())
    gutter, text_size = max(8, width // 16), max(13, width // 12)
    left, top = round(text_size * 8.5), gutter + round(text_size * 1.7)
    name_of = runs["raw"].name_of
    return labelled_grid(
        [[pictures.get((name, layer), missing(run, layer)) for layer in layers] for name, run in runs.items()],
        [NAMES[name] for name in runs],
        [name_of(layer) if len(layers) < 4 or not column else str(layer) for column, layer in enumerate(layers)],
        left=left,
        top=top,
        label_y=top / 2,
        gutter=gutter,
        text_size=text_size,
    )
