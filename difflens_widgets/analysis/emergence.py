"""At which layer a prompt is understood: the first whose picture a judge accepts, and every later one as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from .states import require_layers

if TYPE_CHECKING:
    from ..runs.run import LensRun
    from .judges import PictureJudge


class Emergence(NamedTuple):
    """Where a prompt emerges.

    Attributes
    ----------
    layer : int or None
        The first layer that is judged right together with all after it; None if the last one is not right.
    verdicts : dict of layer → bool
        In ascending order; a yes may well be followed by a no, which `layer` alone does not show.
    """

    layer: int | None
    verdicts: dict[int, bool]


def emergence(run: LensRun, judge: PictureJudge) -> Emergence:
    """Judge all pictures of one run, and find the layer from which they are right to the end.

    Parameters
    ----------
    run : LensRun
        Finished, with the last layer's picture among its own. With only some layers asked for, the first of *those*.
    judge : PictureJudge, optional
        By default `SceneJudge()`, which can read the embedded model's captions and pictures, and no others.

    Raises
    ------
    ValueError
        If the run lacks pictures (one that failed is a no) or the last layer, its layers do not build on each other
        (an ablation), it is another model's and there is no judge, or the judge cannot judge this prompt.
    """
    require_layers(run)
    missing = [layer for layer in run.layers if layer not in run.images and layer not in run.failures]
    if missing:
        raise ValueError(f"run: {run.prompt!r} is {run.status}; no picture yet of the layers {missing}")
    last = run.num_layers - 1
    if last not in run.layers:
        raise ValueError(f"run: the last layer, {last}, was not asked for; without it nothing is right to the end")
    painted = sorted(run.images)
    accepted = judge.judge([run.images[layer] for layer in painted], run.prompt)
    if len(accepted) != len(painted):
        raise ValueError(f"judge: {type(judge).__name__} answered {len(accepted)} times for {len(painted)} pictures")
    yes = dict(zip(painted, map(bool, accepted), strict=True))
    verdicts = {layer: yes.get(layer, False) for layer in sorted(run.layers)}
    return Emergence(first_to_stay(verdicts), verdicts)


def first_to_stay(verdicts: Mapping[int, bool]) -> int | None:
    """The first layer with a yes that is followed by nothing but yes; None if the last is a no."""
    first = None
    for layer in sorted(verdicts, reverse=True):
        if not verdicts[layer]:
            break
        first = layer
    return first
