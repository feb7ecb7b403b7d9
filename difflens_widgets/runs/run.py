"""LensRun: the record of one prompt seen through the layers of a text encoder, with all that one does with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from .format import lens_file
from .record import RunRecord
from .render import figure, gif, grid, page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LensRun(RunRecord):
    """Everything one lens run gave; also while it is still running, and after it was stopped.

    See `RunRecord` for its attributes: images, latents, snapshots, states, tokens, attention and so on.
    """

    def save(self, path: str | Path) -> Path:
        """Write a ``.lens`` file (a zip of JSON, lossless WebP and safetensors; no pickle) and return its path.

        The file appears under its name only when it is complete. Attention maps take as many bytes there as in memory;
        `run.attention = None` leaves them out.

        Raises
        ------
        ValueError
            If the run holds what a file cannot, more than 1 GB of attention maps or latents among it.
        OSError
            If it cannot be written; a file that was there before is untouched.
        """
        return lens_file.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> LensRun:
        """Read a ``.lens`` file.

        Raises
        ------
        ValueError
            If the file is damaged, of a newer version, or holds anything a run would not write; names the reason.
        """
        return cls(**lens_file.load(Path(path)))

    def grid(self, columns: int | None = None) -> Image.Image:
        """All pictures in one, with their layer numbers."""
        return grid.grid(self, columns)

    def plot(self) -> Figure:
        """All pictures as a matplotlib figure, captioned with prompt and settings."""
        return figure.plot(self)

    def to_gif(self, path: str | Path, *, seconds_per_layer: float = 0.5) -> Path:
        """Write the film from the first layer to the last as an animated GIF."""
        return gif.to_gif(self, Path(path), seconds_per_layer)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained HTML page with the working layer slider; it needs no network and no kernel."""
        return page.to_html(self, Path(path))

    def _repr_png_(self) -> bytes | None:
        return grid.png(self.grid()) if self.images else None

    def __repr__(self) -> str:
        return f"LensRun({self.prompt!r}, {len(self.images)} of {len(self.layers)} layers, {self.status})"
