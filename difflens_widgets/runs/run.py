"""LensRun: the result of one lens run, with methods to save, load and draw it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from .format import lens_file
from .record import RunRecord
from .render import figure, gif, grid
from .render.page import PageView, WithPage, run_views

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LensRun(RunRecord, WithPage):
    """The result of one lens run, also while it is running and after it was stopped.

    See `RunRecord` for its attributes: images, latents, snapshots, states, tokens, attention and others.
    """

    def save(self, path: str | Path) -> Path:
        """Write a ``.lens`` file (a zip of JSON, lossless WebP and safetensors; no pickle) and return its path.

        The file gets its name only when it is complete. Attention maps take as many bytes there as in memory;
        `run.attention = None` leaves them out.

        Raises
        ------
        ValueError
            If the run holds what a file cannot hold, such as more than 1 GB of attention maps or of latents.
        OSError
            If the file cannot be written; an existing file does not change.
        """
        return lens_file.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> LensRun:
        """Read a ``.lens`` file.

        Raises
        ------
        ValueError
            If the file is damaged, has a newer version, or holds anything that `save` does not write.
        """
        return cls(**lens_file.load(Path(path)))

    def grid(self, columns: int | None = None) -> Image.Image:
        """Draw all images in one, with their layer numbers."""
        return grid.grid(self, columns)

    def plot(self) -> Figure:
        """Draw all images in a matplotlib figure, with prompt and settings."""
        return figure.plot(self)

    def to_gif(self, path: str | Path, *, seconds_per_layer: float = 0.5) -> Path:
        """Write an animated GIF from the first layer to the last."""
        return gif.to_gif(self, Path(path), seconds_per_layer)

    def page_views(self, thinning: int = 0) -> list[PageView]:
        """A layer slider, and a token-attention grid if there are attention maps; see `WithPage.page_views`."""
        return run_views(self, thinning)

    def _repr_png_(self) -> bytes | None:
        return grid.png(self.grid()) if self.images else None

    def __repr__(self) -> str:
        return f"LensRun({self.prompt!r}, {len(self.images)} of {len(self.layers)} layers, {self.status})"
