"""Comparisons made by hand, without any model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from difflens_widgets import Comparison, LensRun
from difflens_widgets.analysis.comparison.file import SWAPPED
from drawn_runs import drawn_run, picture

DEPTH = 3


def tuned_run(number: int = 1, **fields) -> LensRun:
    """As `drawn_run`, of another model."""
    rng = np.random.default_rng(number)
    raw = drawn_run(depth=DEPTH)
    return replace(
        raw,
        images={layer: picture(10 * number + layer) for layer in range(DEPTH)},
        latents={layer: array + rng.normal(size=array.shape).astype("f4") for layer, array in raw.latents.items()},
        states=(raw.states + rng.normal(size=raw.states.shape)).astype(np.float16),
        settings={**raw.settings, "model": "tuned"},
        **fields,
    )


def drawn_comparison(*, swapped: bool = True, judged: bool = True) -> Comparison:
    verdicts = {"raw": {0: False, 1: False, 2: True}, "tuned": {0: False, 2: True}} if judged else {}
    pairs = {pair: tuned_run(number) for number, pair in enumerate(SWAPPED, 2)} if swapped else {}
    return Comparison(
        drawn_run(depth=DEPTH), tuned_run(), pairs, verdicts=verdicts, judge="SceneJudge(kinds)" if judged else ""
    )
