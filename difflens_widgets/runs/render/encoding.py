"""How pictures travel: JPEG while they are painted, WebP when they are done, PNG where no widget can run."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image

_SMALL = 256  # pixels a side: below, every pixel is seen enlarged, so it is kept as it is
_QUALITY = 80
_SMALL_QUALITY = 95  # pixels that are seen enlarged
_KEPT_SIDE = 512  # pixels: no widget shows more
_STILL_SIDE = 768  # pixels: it is in the notebook file once for each output


Encoder = Callable[[Image.Image], tuple[str, bytes]]


def encode_preview(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of an unfinished picture: fast above all (0.6 ms for 512²)."""
    buffer = BytesIO()
    subsampling = 0 if max(image.size) < _SMALL else 2  # full colour resolution where pixels are enlarged
    image.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, subsampling=subsampling)
    return "image/jpeg", buffer.getvalue()


def encode_final(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of a finished picture; small ones without loss."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, lossless=max(image.size) < _SMALL)
    return "image/webp", buffer.getvalue()


def encode_kept(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of a picture of which a run has very many: always lossy, at most 512 pixels a side."""
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
