"""The training images: found, checked, and made square."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..config import SUBJECT

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_EMBEDDED = Path(__file__).parents[1] / "subject"


def instance_files(folder: str) -> list[Path]:
    """The image files of the subject, in the order of their names.

    Raises
    ------
    ValueError
        If there is no such folder, or no image in it; says what it holds.
    """
    place = Path(folder)
    if folder == SUBJECT and not place.is_dir():
        place = _EMBEDDED
    if not place.is_dir():
        raise ValueError(f"instance_data_dir: {folder}: no such folder")
    files = image_files(place)
    if not files:
        held = ", ".join(sorted(path.name for path in place.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"instance_data_dir: {folder}: has no image ({', '.join(SUFFIXES)}), 3 to 5 are usual; it holds {held}"
        )
    return files


def image_files(folder: Path) -> list[Path]:
    """The files whose names look like those of images, sorted."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_image(path: Path, side: int) -> tuple[Image.Image, str]:
    """Read an image as `side` × `side` pixels of RGB.

    The shorter side is scaled to `side`, and the middle is kept. Transparent parts become white.

    Returns
    -------
    image : PIL.Image
    message : str
        What the user should know about the conversion; "" if nothing.

    Raises
    ------
    ValueError
        If it cannot be read, has more than 8 bits a channel, or less than half of `side` pixels.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from None
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{path}: has more than 8 bits per channel; save it with 8")
    width, height = image.size
    if min(width, height) < side / 2:
        raise ValueError(
            f"{path}: {width} × {height} pixels are too few for {side} × {side}; "
            f"the shorter side must have at least {-(-side // 2)}"
        )
    messages = []
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if np.asarray(rgba.getchannel("A")).min() < 255:
            messages.append("transparent parts become white")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    elif image.mode in ("L", "1"):
        messages.append("is gray: the subject will be learned as gray")
    if min(width, height) < side:
        messages.append(f"{width} × {height} pixels are scaled up to {side}")
    square = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    return square, "; ".join(messages)


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """Convert RGB images of one size to a float32 Tensor (images, 3, height, width) in -1..1, for the autoencoder."""
    arrays = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float().div(127.5).sub(1)
