"""The budget of a page: pictures of lower quality, then smaller ones, then fewer, until the page fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

from PIL import Image

from .document import document, title_of
from .view import MAX_THINNING, PageView

Views = list[list[PageView]]
"""The views of each source."""

_LADDER = ((80, 1024), (65, 768), (50, 768), (50, 512), (40, 384), (35, 256), (30, 128))
"""WebP quality, and the most pixels a side; what the last step says holds for thinned pages too."""
_STEPS = len(_LADDER) + MAX_THINNING
_STILL = (80, 256)
_WORTH = 0.9  # a picture is encoded again only where that makes it smaller by a tenth


def fitted(
    views_of: Callable[[int], Views], title: str | None = None, max_bytes: int | None = None, *, embedded: bool = False
) -> tuple[bytes, str]:
    """Make a page of at most `max_bytes`.

    Parameters
    ----------
    views_of : callable
        Takes the thinning, 0..`MAX_THINNING`, and returns the views of each source.
    title : str, optional
        The heading; by default the title of the first view.
    max_bytes : int, optional
        None: as large as it is.
    embedded : bool
        The page is part of a notebook's output: it has no heading, no margins and no still pictures.

    Returns
    -------
    bytes, str
        The page in UTF-8, and its title.

    Raises
    ------
    ValueError
        If the smallest page is larger than `max_bytes`. An embedded one is returned then.
    """
    views = views_of(0)
    title = title_of(views) if title is None else " ".join(title.split())
    page = _page(views, title, _STILL, "", embedded)
    if max_bytes is None or len(page) <= max_bytes:
        return page, title
    allowed = f"{max_bytes / 1e6:.1f} MB" if max_bytes >= 1_000_000 else f"{max_bytes // 1000} KB"

    def reduced(step: int) -> bytes:
        smaller, words, still = _reduced(views_of, views, step)
        return _page(smaller, title, still, f"Reduced to fit into {allowed}: {words}.", embedded)

    page, too_large, fits = reduced(_STEPS - 1), -1, _STEPS - 1
    if len(page) > max_bytes and not embedded:
        raise ValueError(
            f"max_bytes: this page takes at least {math.ceil(len(page) / 1000):,} KB, however small its pictures are, "
            f"and {max_bytes:,} bytes are allowed; allow more, or show fewer layers, epochs or sources"
        )
    while fits - too_large > 1 and len(page) <= max_bytes:  # each step makes a smaller page: halve the steps
        middle = (too_large + fits) // 2
        candidate = reduced(middle)
        if len(candidate) > max_bytes:
            too_large = middle
        else:
            fits, page = middle, candidate
    return page, title


def _reduced(views_of: Callable[[int], Views], views: Views, step: int) -> tuple[Views, str, tuple[int, int]]:
    """The views at one of `_STEPS`, what is reduced, and quality and pixels of the still pictures."""
    quality, side = _LADDER[min(step, len(_LADDER) - 1)]
    words = f"pictures of at most {side} pixels a side, WebP quality {quality}"
    if step < len(_LADDER):
        return _smaller(views, quality, side), words, (quality, min(side, _STILL[1]))
    thinned = views_of(step - len(_LADDER) + 1)
    left_out = dict.fromkeys(each for of_source in thinned for view in of_source for each in view.left_out)
    words = f"{words}; left out: {', '.join(left_out)}" if left_out else words
    return _smaller(thinned, quality, side), words, (quality, side)


def _smaller(views: Views, quality: int, side: int) -> Views:
    """Encode the pictures of all frames again; maps stay as they are."""

    def state(view: PageView) -> dict:
        frames = {
            key: {**frame, **_encoded(frame, quality, side)} if frame["mime"].startswith("image/") else frame
            for key, frame in view.state["_frames"].items()
        }
        return {**view.state, "_frames": frames}

    return [[replace(view, state=state(view)) for view in of_source] for of_source in views]


def _encoded(frame: dict, quality: int, side: int) -> dict:
    buffer = BytesIO()
    with Image.open(BytesIO(frame["data"])) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=quality)
    data = buffer.getvalue()
    return {"mime": "image/webp", "data": data} if len(data) < _WORTH * len(frame["data"]) else {}


def _page(views: Views, title: str, still: tuple[int, int], reduced: str, embedded: bool) -> bytes:
    return document(views, title, still=still, reduced=reduced, embedded=embedded).encode("utf-8", "replace")
