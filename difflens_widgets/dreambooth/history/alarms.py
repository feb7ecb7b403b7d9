"""Alarms: at which epoch, and from which layer on, training begins to damage what the model could do. No torch.

All distances are root mean squares between latents. Each validation prompt starts from the same noise at every epoch,
so an unchanged model has moved by exactly 0. The thresholds apply to ratios of distances within one training, so they
depend neither on the model nor on the scale of its latents:

- **collapse** of a class prompt: its image has moved, and its distance to the subject's image (the instance prompt at
  the same epoch) is less than half of its distance to its own image before training, so it has gone two thirds of the
  way to the subject. A class image that only varies, as with prior preservation, moves away from the subject as well.
- **collapse** of a class that is generated from several seeds, or by several prompts: the distances between its images
  are less than half of what they were before training.
- **drift** of a control prompt: its image has moved by more than 0.55 of the distance that it had before training to
  the images of the other prompts (their median): it is as much another image by now as its own.

Images of two prompts are compared only if they come from the same seed.

Both sides of the thresholds, measured at the last layer of the embedded model:

    training                                      at step             class               control (a red circle)
    all weights, one dog, without preservation    25, 50, 100         0.17, 0.27, 0.38    0.64, 0.62, 0.64
    the same with prior preservation              25, 50, 100         0.65, 1.15, 1.21    0.35, 0.33, 0.32
    LoRA, rank 16, 1e-3, without preservation     25, 50, 75, 100     0.49, 0.65, 0.23, 0.24    0.13, 0.17, 0.18, 0.25
    the same with it, 16 class images             25, 50, 100, 150    1.51, 0.90, 0.98, 0.93    0.22, 0.35, 0.45, 0.50

In the first steps (0.50 at step 10 of the last one), before the model tells the rare word from its class, both move
together. "A photo of a cat" moved by more than 1 in the first two trainings: it is too close to a dog for a control.

The last layer decides whether there is an alarm, because that is the image people look at. The `layer` of the alarm is
the lowest one from which on every layer shows the problem. Each kind is raised once for each prompt, at the first epoch
that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ...analysis.metrics import latent_rms
from ...runs.run import LensRun
from .events import Alarm, ValidationPrompt
from .runs import Runs

COLLAPSE_RATIO = 0.5
"""A class image has collapsed if distance to the subject / distance to its own image before training is below this."""
VARIETY_RATIO = 0.5
"""A class has collapsed if the distance between its images / the same before training is below this."""
DRIFT_RATIO = 0.55
"""A control has drifted if distance moved / distance to other prompts' images before training is at least this."""
MIN_SHIFT = 0.1
"""A class image that moved less than this share of the distance of unrelated images has not collapsed."""

_Epoch = dict[int, LensRun]  # index of the validation prompt → run


def check_alarms(runs: Runs, prompts: Sequence[ValidationPrompt], epoch: int, known: Sequence[Alarm]) -> list[Alarm]:
    """Find what begins to go wrong at an epoch.

    Parameters
    ----------
    runs : Runs
        With epoch 0, which the later epochs are compared with; without it there are no alarms.
    prompts : sequence of ValidationPrompt
        Those of `runs`.
    epoch : int
    known : sequence of Alarm
        Those raised before; they are not raised again.
    """
    raised = {(alarm.kind, alarm.validation_prompt) for alarm in known if alarm.epoch <= epoch}
    before, now = _runs_of(runs, prompts, 0), _runs_of(runs, prompts, epoch)
    if epoch == 0 or not before:
        return []
    found = [*_collapsed(prompts, epoch, before, now), *_drifted(prompts, epoch, before, now)]
    if len(now) == len(prompts):  # only then all class prompts can be compared
        found += _lost_variety(prompts, epoch, before, now)
    first: dict[tuple[str, int], Alarm] = {}
    for alarm in found:
        first.setdefault((alarm.kind, alarm.validation_prompt), alarm)
    return [alarm for key, alarm in first.items() if key not in raised]


def _collapsed(prompts: Sequence[ValidationPrompt], epoch: int, before: _Epoch, now: _Epoch) -> list[Alarm]:
    subjects = [index for index in now if prompts[index].role == "instance"]
    alarms = []
    for index in _of_role(prompts, "class", before, now):
        shift = _distances(before[index], now[index])
        moved = shift >= MIN_SHIFT * _unrelated(before[index])
        for subject in (each for each in subjects if _same_seed(prompts, each, index)):
            ratio = _ratio(_distances(now[subject], now[index]), shift)
            layer = _first_layer(moved & (ratio < COLLAPSE_RATIO), now[index])
            if layer is None:
                continue
            message = (
                f"“{prompts[index].prompt}” becomes “{prompts[subject].prompt}” from layer {layer} on: the distance of "
                f"its image to the subject's is {ratio[-1]:.2f} times the distance to its own before training (alarm "
                f"below {COLLAPSE_RATIO:g})"
            )
            alarms.append(Alarm("collapse", epoch, layer, index, message))
            break
    return alarms


def _lost_variety(prompts: Sequence[ValidationPrompt], epoch: int, before: _Epoch, now: _Epoch) -> list[Alarm]:
    classes = _of_role(prompts, "class", before, now)
    if len(classes) < 2:
        return []
    variety = [
        np.mean([_distances(runs[a], runs[b]) for a, b in combinations(classes, 2)], axis=0) for runs in (before, now)
    ]
    left = _ratio(variety[1], variety[0])
    layer = _first_layer(left < VARIETY_RATIO, now[classes[0]])
    if layer is None:
        return []
    message = (
        f"the images of the class become alike from layer {layer} on: {left[-1]:.2f} of their variety before training "
        f"is left (alarm below {VARIETY_RATIO:g})"
    )
    return [Alarm("collapse", epoch, layer, classes[0], message)]


def _drifted(prompts: Sequence[ValidationPrompt], epoch: int, before: _Epoch, now: _Epoch) -> list[Alarm]:
    alarms = []
    for index in _of_role(prompts, "control", before, now):
        share = _ratio(_distances(before[index], now[index]), _to_others(prompts, before, index))
        layer = _first_layer(share >= DRIFT_RATIO, now[index])
        if layer is None:
            continue
        message = (
            f"“{prompts[index].prompt}” has changed from layer {layer} on, though it has nothing to do with the "
            f"subject: its image moved {share[-1]:.2f} of the way to another prompt's (alarm from {DRIFT_RATIO:g})"
        )
        alarms.append(Alarm("drift", epoch, layer, index, message))
    return alarms


def _runs_of(runs: Runs, prompts: Sequence[ValidationPrompt], epoch: int) -> _Epoch:
    return {index: runs.get_one(epoch, index) for index in range(len(prompts)) if runs.has(epoch, index)}


def _of_role(prompts: Sequence[ValidationPrompt], role: str, *epochs: _Epoch) -> list[int]:
    """Indices of the prompts with this role that have a run in all of `epochs`."""
    return [index for index, prompt in enumerate(prompts) if prompt.role == role and all(index in e for e in epochs)]


def _distances(a: LensRun, b: LensRun) -> np.ndarray:
    """Distance of two runs' latents at each layer of `b`, ascending; NaN where one is missing."""
    return np.array([latent_rms(a.latents.get(layer), b.latents.get(layer)) for layer in sorted(b.layers)])


def _to_others(prompts: Sequence[ValidationPrompt], before: _Epoch, index: int) -> np.ndarray:
    """Distance before training to the images of the other prompts, at each layer: the median of all others."""
    numbers = [other for other in before if other != index and _same_seed(prompts, other, index)]
    others = [_distances(before[other], before[index]) for other in numbers]
    return np.median(others, axis=0) if others else _unrelated(before[index])


def _unrelated(run: LensRun) -> np.ndarray:
    """The distance of unrelated images at each layer: √2 times the standard deviation of the latents."""
    return np.array([np.sqrt(2) * run.latents[k].std() if k in run.latents else np.nan for k in sorted(run.layers)])


def _same_seed(prompts: Sequence[ValidationPrompt], a: int, b: int) -> bool:
    return prompts[a].seed_offset == prompts[b].seed_offset


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def _first_layer(bad: np.ndarray, run: LensRun) -> int | None:
    """The layer at which the unbroken series of bad layers begins that ends at the last one; None if that is good."""
    good = np.flatnonzero(~bad)
    begin = int(good[-1]) + 1 if len(good) else 0
    return sorted(run.layers)[begin] if begin < len(bad) else None
