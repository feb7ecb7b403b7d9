"""What the three experiments of the course project measure, as plain numbers that JSON can keep; see `experiments`.

Nothing is averaged here: every number stands beside the prompt, seed and training it is of, so that whoever reads it
counts *n* and makes the intervals (`analysis.intervals.mean_interval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ...analysis.comparison.comparison import Comparison
from ...analysis.metrics import picture_ssim
from ...analysis.similarity import token_similarity
from ...dreambooth.history import drift
from ...dreambooth.history.history import TrainingHistory
from ...lens.diffusion_lens import DiffusionLens
from ...runs.run import LensRun
from ..judge import Judge
from ..subject import DOG

_DIGITS = 5
_LOSSES = 10  # steps of one point of the loss curve


class Pair(NamedTuple):
    """A word of a prompt with the subject, a word of a prompt without, and what the pair is there for."""

    role: str
    words: tuple[str, str]
    things: tuple[str, str]  # what the prompts are about


PAIRS = (
    Pair("asked", ("xon", "dog"), ("xon dog", "dog")),
    Pair("another rare token, never trained", ("sks", "dog"), ("sks dog", "dog")),
    Pair("another class", ("xon", "cat"), ("xon dog", "cat")),
    Pair("two other words", ("circle", "square"), ("red circle", "square")),
    Pair("the class word, in both prompts", ("dog", "dog"), ("xon dog", "dog")),
)
TEMPLATES = (
    ("a photo of {}", "a photo of a {}"),  # the course project's
    ("{}", "{}"),
    ("a big {}", "a big {}"),
    ("{} on a blue background", "a {} on a blue background"),
    ("a picture of {} on a white background", "a picture of a {} on a white background"),
    ("a small {} on a green background", "a small {} on a green background"),
)
COMPARED = (
    "xon",  # the course project's
    "a photo of xon dog",
    "a photo of a dog",
    "a red circle on a blue background",
)


def evolution(history: TrainingHistory, judge: Judge) -> dict[str, Any]:
    """Experiment 1: how far each layer has moved at each epoch, of every prompt; and what alarms that raised.

    "drift" has the measures of `dreambooth.drift` as [epoch][layer]; "subject" whether the judge reads the picture as a
    dog in the subject's colour. "apart" is what the drift of pictures can be read against: the distance of different
    probes' pictures before training, by pair of probes and layer.
    """
    layers = sorted(history.run(history.epochs[0]).layers)
    chosen = {number: probe for number, probe in enumerate(history.probes) if not probe.noise}
    between = [
        drift.between(one, other) for one, other in combinations([history.run(0, number) for number in chosen], 2)
    ]
    losses = history.losses
    starts = range(0, len(losses["step"]), _LOSSES)
    return {
        "trainings": 1,
        "epochs": list(history.epochs),
        "layers": layers,
        "probes": [
            {
                "prompt": probe.prompt,
                "role": probe.role,
                "drift": {name: numbers(values) for name, values in history.drift(number).items()},
                "subject": [_subject(history.run(epoch, number), layers, judge) for epoch in history.epochs],
            }
            for number, probe in chosen.items()
        ],
        "apart": {name: numbers([each[name] for each in between]) for name in ("latent_rms", "ssim_distance")},
        "alarms": [{**vars(alarm), "prompt": history.probes[alarm.probe].prompt} for alarm in history.alarms],
        "loss": {
            name: numbers([values[start : start + _LOSSES].mean() for start in starts])
            for name, values in losses.items()
            if name in ("epoch", "loss", "instance_loss", "prior_loss")
        },
    }


def compared(comparison: Comparison, judge: Judge) -> dict[str, list[Any]]:
    """Experiment 2, of one prompt and one seed: each measure over the layers.

    "same_unet_ssim" compares the tuned model not with the raw one but with the raw encoder before the tuned U-Net, as
    the course project did; "subject/RUN" is what the judge reads.
    """
    layers = list(comparison.layers)
    measures: dict[str, list[Any]] = {name: numbers(values) for name, values in comparison.metrics.items()}
    same_unet = comparison.swapped["raw", "tuned"]
    measures["same_unet_ssim"] = numbers(
        [picture_ssim(same_unet.images.get(k), comparison.tuned.images.get(k)) for k in layers]
    )
    return measures | {f"subject/{name}": _subject(run, layers, judge) for name, run in comparison.runs.items()}


def cosines(lens: DiffusionLens) -> list[list[list[float]]]:
    """Experiment 3, of one model: the cosine of each of `PAIRS` in each of `TEMPLATES`, [pair][template][layer]."""
    return [
        [
            numbers(
                token_similarity(lens, (specific.format(things[0]), words[0]), (general.format(things[1]), words[1]))
            )
            for specific, general in TEMPLATES
        ]
        for _, words, things in PAIRS
    ]


def numbers(values: Any) -> Any:
    """Nested lists for JSON, rounded; None where there is no number."""
    array = np.round(np.asarray(values, dtype=float), _DIGITS)
    found = array.astype(object)
    found[~np.isfinite(array)] = None
    return found.tolist()


def _subject(run: LensRun, layers: Sequence[int], judge: Judge) -> list[int | None]:
    """For each layer 1 if the judge reads a dog in the subject's colour, else 0; None where nothing was painted."""
    painted = [layer for layer in layers if layer in run.images]
    readings = dict(zip(painted, judge.read([run.images[layer] for layer in painted]), strict=True)) if painted else {}
    found: list[int | None] = []
    for layer in layers:
        seen = readings[layer].things.get(DOG.kind) if layer in readings else None
        found.append(int(seen is not None and seen.colour == DOG.colour) if layer in readings else None)
    return found
