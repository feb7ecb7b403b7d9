"""One image of a stock pipeline with its attention maps, as a run of one layer."""

from __future__ import annotations

from PIL import Image

from ..runs.maps.maps import AttentionMaps, LensAttention
from ..runs.run import LensRun


def stock_picture(maps: AttentionMaps, picture: Image.Image) -> LensRun:
    """Make a run of one layer from one image and its maps.

    Raises
    ------
    ValueError
        If the maps are of an image of another size.
    """
    plan = maps.plan
    if picture.size != (plan.width, plan.height):
        raise ValueError(
            f"the picture has {picture.width} × {picture.height} pixels; the maps are of one with "
            f"{plan.width} × {plan.height}"
        )
    run = LensRun(" ".join(maps.words), plan.tokens, (0,), 1, 0, {"method": "picture"}, images={0: picture})
    run.attention, run.status = LensAttention(plan), "done"
    run.attention.add(0, maps)
    return run
