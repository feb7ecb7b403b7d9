"""At which layer a prompt emerges: the first from which a judge accepts every picture, up to the last layer."""

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
        The first layer that is judged right together with all later ones; None if the last one is not right.
    verdicts : dict of layer → bool
        In ascending order. A yes may be followed by a no, which `layer` alone does not show.
    """

    layer: int | None
    verdicts: dict[int, bool]


def emergence(run: LensRun, judge: PictureJudge) -> Emergence:
    """Judge all pictures of one run, and find the layer from which all of them are right.

    Parameters
    ----------
    run : LensRun
        Finished, with the last layer among its layers. If only some layers were painted, the result is the first of
        *those*.
    judge : PictureJudge
        For the embedded model `SceneJudge()`, which reads its captions and pictures, and no others; else, for
        example, a `CLIPJudge`.

    Raises
    ------
    ValueError
        If pictures are missing (a failed one counts as a no, as does one that the safety checker blacked out), the last
        layer was not painted, the layers do not build on each other (a layer ablation), or the judge cannot judge this
        prompt.
    """
    require_layers(run)
    missing = [layer for layer in run.layers if layer not in run.images and layer not in run.failures]
    if missing:
        raise ValueError(f"run: {run.prompt!r} is {run.status}; no picture yet of the layers {missing}")
    last = run.num_layers - 1
    if last not in run.layers:
        raise ValueError(f"run: the last layer, {last}, was not requested; without it no layer is right to the end")
    painted = sorted(set(run.images) - run.flagged)
    accepted = judge.judge([run.images[layer] for layer in painted], run.prompt)
    if len(accepted) != len(painted):
        raise ValueError(f"judge: {type(judge).__name__} answered {len(accepted)} times for {len(painted)} pictures")
    yes = dict(zip(painted, map(bool, accepted), strict=True))
    verdicts = {layer: yes.get(layer, False) for layer in sorted(run.layers)}
    return Emergence(first_to_stay(verdicts), verdicts)


def first_to_stay(verdicts: Mapping[int, bool]) -> int | None:
    """Return the first layer with a yes and only yes after it; None if the last layer has a no."""
    first = None
    for layer in sorted(verdicts, reverse=True):
        if not verdicts[layer]:
            break
        first = layer
    return first
