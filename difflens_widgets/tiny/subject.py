"""The embedded subject: one dog with a fur, ears and a patch of its own, in four places.

Draw the pictures again with ``python -m difflens_widgets.tiny.subject``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from .drawing import SIZE, draw
from .scenes import Item, Markings, Scene

DOG = Item("dog", "orange", 0.5, 0.5, 0.32, Markings(ears="purple", patch="black"))
"""What makes it this dog and no other; each picture places it elsewhere."""

PLACES = (  # background, x, y, r
    ("blue", 0.52, 0.5, 0.33),
    ("green", 0.46, 0.54, 0.29),
    ("yellow", 0.54, 0.47, 0.38),
    ("white", 0.5, 0.52, 0.31),
)


def draw_subject(size: int = SIZE) -> list[Image.Image]:
    """The four pictures, each `size` × `size` pixels of RGB."""
    dogs = [(replace(DOG, x=x, y=y, r=r), background) for background, x, y, r in PLACES]
    return [draw(Scene((dog,), background, "object", "a photo of xon dog"), size) for dog, background in dogs]


def write_subject(folder: Path) -> list[Path]:
    """Draw them again and write them as PNG files."""
    paths = [folder / f"dog-{number}.png" for number in range(1, len(PLACES) + 1)]
    for path, image in zip(paths, draw_subject(), strict=True):
        image.save(path)
    return paths


if __name__ == "__main__":
    write_subject(Path(__file__).parents[1] / "dreambooth" / "subject")
