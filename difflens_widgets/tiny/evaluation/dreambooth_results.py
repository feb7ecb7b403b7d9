"""The measurements of the three experiments of the course project, as numbers for JSON; see `experiments`.

Nothing is averaged here: every number belongs to one prompt, seed and training, so the reader of the file counts *n*
and computes the intervals (`analysis.intervals.mean_interval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ...analysis.comparison.comparison import Comparison
from ...analysis.metrics import picture_ssim
from ...analysis.similarity import token_similarity
from ...dreambooth.history.history import TrainingHistory
from ...dreambooth.history.training_drift import training_drift
from ...lens.diffusion_lens import DiffusionLens
from ...runs.run import LensRun
from ..judge import Judge
from ..subject import DOG

_DIGITS = 5
_LOSSES = 10  # steps of one point of the loss curve


class Pair(NamedTuple):
    """A word of a prompt with the subject, a word of a prompt without, and the role of the pair."""

    role: str
    words: tuple[str, str]
    things: tuple[str, str]  # put into the templates


PAIRS = (
    Pair("the subject and its class", ("xon", "dog"), ("xon dog", "dog")),
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
    """Experiment 1: how much each layer has changed at each epoch, for every prompt; and the alarms.

    Returns
    -------
    dict
        For each of "validation_prompts", "training_drift" has the metrics of `dreambooth.history.training_drift` as
        [epoch][layer], and "subject" tells whether the judge recognizes a dog in the subject's color.
        "difference", to compare the drift with, is the distance before training between the images of different
        prompts, as [pair of prompts][layer].
    """
    layers = sorted(history.run(history.epochs[0]).layers)
    chosen = {index: prompt for index, prompt in enumerate(history.validation_prompts) if not prompt.seed_offset}
    differences = [
        training_drift(one, other) for one, other in combinations([history.run(0, index) for index in chosen], 2)
    ]
    losses = history.losses
    starts = range(0, len(losses["step"]), _LOSSES)
    return {
        "trainings": 1,
        "epochs": list(history.epochs),
        "layers": layers,
        "validation_prompts": [
            {
                "prompt": prompt.prompt,
                "role": prompt.role,
                "training_drift": {name: numbers(values) for name, values in history.training_drift(index).items()},
                "subject": [_subject(history.run(epoch, index), layers, judge) for epoch in history.epochs],
            }
            for index, prompt in chosen.items()
        ],
        "difference": {name: numbers([each[name] for each in differences]) for name in ("latent_rms", "ssim_distance")},
        "alarms": [vars(alarm) for alarm in history.alarms],
        "alarms_at_the_end": [vars(alarm) for alarm in history.alarms_at(history.epochs[-1])],
        "loss": {
            name: numbers([values[start : start + _LOSSES].mean() for start in starts])
            for name, values in losses.items()
            if name in ("epoch", "loss", "instance_loss", "prior_loss")
        },
    }


def compared(comparison: Comparison, judge: Judge) -> dict[str, list[Any]]:
    """Experiment 2, for one prompt and one seed: each metric over the layers.

    "same_unet_ssim" compares the tuned model not with the raw one but with the raw encoder in front of the tuned U-Net,
    as the course project did; "subject/RUN" tells whether the judge recognizes the subject in the images of a run.
    """
    layers = list(comparison.layers)
    found: dict[str, list[Any]] = {name: numbers(values) for name, values in comparison.metrics.items()}
    same_unet = comparison.swapped["raw", "tuned"]
    found["same_unet_ssim"] = numbers(
        [picture_ssim(same_unet.images.get(k), comparison.tuned.images.get(k)) for k in layers]
    )
    return found | {f"subject/{name}": _subject(run, layers, judge) for name, run in comparison.runs.items()}


def cosines(lens: DiffusionLens) -> list[list[list[float]]]:
    """Experiment 3, for one model: the cosine of each of `PAIRS` in each of `TEMPLATES`, as [pair][template][layer]."""
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
    """Nested lists for JSON, rounded; None in place of NaN and infinity."""
    array = np.round(np.asarray(values, dtype=float), _DIGITS)
    found = array.astype(object)
    found[~np.isfinite(array)] = None
    return found.tolist()


def _subject(run: LensRun, layers: Sequence[int], judge: Judge) -> list[int | None]:
    """For each layer 1 if the judge recognizes a dog in the subject's color, else 0; None where there is no image."""
    there = [layer for layer in layers if layer in run.images]
    readings = dict(zip(there, judge.read([run.images[layer] for layer in there]), strict=True)) if there else {}
    found: list[int | None] = []
    for layer in layers:
        seen = readings[layer].things.get(DOG.kind) if layer in readings else None
        found.append(int(seen is not None and seen.color == DOG.color) if layer in readings else None)
    return found
