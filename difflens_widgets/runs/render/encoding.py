"""Image encodings: JPEG for previews, WebP for finished images, PNG where no widget can run."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image

_SMALL = 256  # pixels a side: smaller images are enlarged on screen, so they are encoded without loss
_QUALITY = 80
_SMALL_QUALITY = 95  # for images that are enlarged on screen
_KEPT_SIDE = 512  # pixels a side: no widget shows more
_STILL_SIDE = 768  # pixels a side: each output stores one in the notebook file


Encoder = Callable[[Image.Image], tuple[str, bytes]]


def encode_preview(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of an unfinished image; fast (0.6 ms for 512²)."""
    buffer = BytesIO()
    subsampling = 0 if max(image.size) < _SMALL else 2  # full color resolution for enlarged pixels
    image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, subsampling=subsampling)
    return "image/jpeg", buffer.getvalue()


def encode_final(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of a finished image; small ones without loss."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, lossless=max(image.size) < _SMALL)
    return "image/webp", buffer.getvalue()


def encode_kept(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of one image of very many: always lossy, at most 512 pixels a side."""
    buffer = BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=_SMALL_QUALITY if max(small.size) < _SMALL else _QUALITY)
    return "image/webp", buffer.getvalue()


def small_png(image: Image.Image) -> bytes:
    """A PNG of at most 768 pixels a side."""
    buffer = BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_STILL_SIDE, _STILL_SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
