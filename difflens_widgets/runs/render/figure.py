"""Draws a run as a matplotlib figure, without pyplot: no global state, no window, works in threads."""

from __future__ import annotations

import functools
import io
import math
import textwrap
from typing import TYPE_CHECKING, Any

from ..record import RunRecord
from .grid import columns_for, painted, variant_missing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 1.7  # inches
_CHARACTER = 0.095  # inches, width of a character in the title
AS_IT_IS: dict[str, Any] = {"parse_math": False, "usetex": False}  # a prompt is plain text: "$" starts no formula


def plot(run: RunRecord) -> Figure:
    """Draw all images with their layers, the prompt above them and the settings below; variants in rows of their own.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it; ``figure.savefig(path)`` writes it. `figure.axes` are in the order of the layers.

    Raises
    ------
    ValueError
        If the run has no images yet.
    """
    first = painted(run)
    layers = sorted({*run.layers, *first})
    columns = len(layers) if run.variants else columns_for(len(layers))
    cells = [(layer, token) for token in (None, *run.variants) for layer in layers]
    images = {(layer, None): image for layer, image in first.items()} | dict(run.token_images)
    rows = math.ceil(len(cells) / columns)
    width = max(columns * _CELL, 4.0)
    title = textwrap.wrap(" ".join(run.prompt.split()), int(width / _CHARACTER), max_lines=4, placeholder=" …")
    head, foot = 0.3 + 0.22 * len(title), 0.4

    figure = figure_class()(figsize=(width, rows * (_CELL + 0.2) + head + foot), facecolor="white")
    figure.set_layout_engine("none")  # overrides the user's own settings
    top = 1 - 0.12 / figure.get_figheight()
    heading = figure.suptitle("\n".join(title), y=top, va="top", fontsize=12, color="0.1", **AS_IT_IS)
    # wide letters would not fit on the page
    heading.set_fontsize(12 * min(1.0, 0.96 * figure.bbox.width / max(heading.get_window_extent().width, 1.0)))
    figure.subplots_adjust(
        left=0.02,
        right=0.98,
        top=1 - (head + 0.12) / figure.get_figheight(),
        bottom=foot / figure.get_figheight(),
        wspace=0.06,
        hspace=0.2,
    )
    for place, cell in enumerate(cells):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(textwrap.fill(run.name_of(*cell), 26), fontsize=9, color="0.25", pad=3, **AS_IT_IS)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("0.8")
        if cell in images:
            small = min(images[cell].size) < 96
            axes.imshow(images[cell], interpolation="nearest" if small else "antialiased")
        else:
            axes.set_aspect("equal", adjustable="box")
            axes.text(0.5, 0.5, variant_missing(run, *cell), ha="center", va="center", fontsize=8, color="0.4")
    figure.text(0.5, 0.1 / figure.get_figheight(), _caption(run), ha="center", fontsize=8, color="0.35", **AS_IT_IS)
    return figure


def _caption(run: RunRecord) -> str:
    """Whether it is a draft, steps, seed, guidance and model, without those that are not known."""
    facts = run.caption
    names = (("steps", "num_inference_steps"), ("seed", "seed"), ("guidance", "guidance_scale"))
    parts = ["draft"] if facts.get("quality") == "draft" else []
    parts += [f"{word} {facts[name]}" for word, name in names if facts.get(name) is not None]
    if facts.get("model"):
        parts.append(str(facts["model"]))
    return " · ".join(parts)


@functools.cache
def figure_class() -> type[Figure]:
    """The class of the figures, created with the first figure: to import matplotlib takes a second."""
    from matplotlib.figure import Figure

    class LensFigure(Figure):
        """A figure that notebooks show even if pyplot was never imported."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return LensFigure
