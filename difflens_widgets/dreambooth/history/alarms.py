"""Alarms: at which epoch, and from which layer on, a training begins to spoil what the model could do. No torch.

All are measured on the latents of the painted pictures, by root mean square. Every probe starts from the same noise in
every epoch, so an unchanged model has moved by exactly 0. The measures are ratios of distances of one run of the
training, so the thresholds depend neither on the model nor on its latents' scale:

- **collapse**, of a class prompt: its picture has moved, and is less than half as far from the subject's picture (the
  instance prompt's at the same epoch) as from its own before training: it has gone two thirds of the way to it. One
  that only varies, as with prior preservation, goes its own way, away from the subject as well.
- **collapse**, of a class painted from several noises, or by several prompts: its pictures are less than half as
  different from each other as before.
- **drift**, of a control prompt: its picture has moved more than 0.55 times as far as, before training, it was away
  from the other prompts' pictures (their median): it is as much another picture by now as its own.

Pictures of two prompts are compared from the same noise only.

Both sides of the thresholds, measured on the embedded model, of the last layer:

    training                                      at step             class               control (a red circle)
    all weights, one dog, without preservation    25, 50, 100         0.17, 0.27, 0.38    0.64, 0.62, 0.64
    the same with prior preservation              25, 50, 100         0.65, 1.15, 1.21    0.35, 0.33, 0.32
    the shipped LoRA config without preservation  25, 50, 75, 100     0.49, 0.65, 0.23, 0.24    0.13, 0.17, 0.18, 0.25
    the same with it, 16 class pictures           25, 50, 100, 150    1.51, 0.90, 0.98, 0.93    0.22, 0.35, 0.45, 0.50

In the first steps (0.50 at step 10 of the last one) before the rare word is told from its class, both move as one.
"A photo of a cat" moved by more than 1 in the first two: too near to a dog, it is no control.

An alarm is judged where people look, at the last layer; its `layer` is where the trouble begins: the lowest one from
which on every layer shows it. Each kind is raised once for each probe, at the first epoch that shows it.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ...runs.run import LensRun
from .drift import latent_rms
from .events import Alarm

if TYPE_CHECKING:
    from .history import TrainingHistory

NEARER = 0.5
"""Of the distance to its own picture before training: a class picture this near to the subject's has collapsed."""
VARIETY_LEFT = 0.5
"""Of the distance between class pictures before training."""
MOVED = 0.55
"""Of the distance to other prompts' pictures before training: how far a control may move."""
STILL = 0.1
"""Of the distance of pictures that have nothing in common: a class that moved less has not collapsed."""


def look(history: TrainingHistory, epoch: int) -> list[Alarm]:
    """What begins to go wrong at an epoch: alarms that the history has not yet."""
    known = {(alarm.kind, alarm.probe) for alarm in history.alarms if alarm.epoch <= epoch}
    before, now = _runs(history, 0), _runs(history, epoch)
    if epoch == 0 or not before:
        return []
    found = [*_collapsed(history, epoch, before, now), *_drifted(history, epoch, before, now)]
    if len(now) == len(history.probes):  # only then all class prompts can be compared
        found += _alike(history, epoch, before, now)
    first: dict[tuple[str, int], Alarm] = {}
    for alarm in found:
        first.setdefault((alarm.kind, alarm.probe), alarm)
    return [alarm for key, alarm in first.items() if key not in known]


def _collapsed(
    history: TrainingHistory, epoch: int, before: dict[int, LensRun], now: dict[int, LensRun]
) -> list[Alarm]:
    subjects = [probe for probe in now if history.probes[probe].role == "instance"]
    alarms = []
    for probe in _of_role(history, "class", before, now):
        own = _distances(before[probe], now[probe])
        moved = own >= STILL * _unrelated(before[probe])
        for subject in (each for each in subjects if _same_noise(history, each, probe)):
            ratio = _ratio(_distances(now[subject], now[probe]), own)
            layer = _begins(moved & (ratio < NEARER))
            if layer is None:
                continue
            message = (
                f"“{history.probes[probe].prompt}” becomes “{history.probes[subject].prompt}” from layer "
                f"{_name(now[probe], layer)} on: its picture is {ratio[-1]:.2f} times as far from the subject's as "
                f"from its own before training (alarm below {NEARER:g})"
            )
            alarms.append(Alarm("collapse", epoch, _name(now[probe], layer), probe, message))
            break
    return alarms


def _alike(history: TrainingHistory, epoch: int, before: dict[int, LensRun], now: dict[int, LensRun]) -> list[Alarm]:
    probes = _of_role(history, "class", before, now)
    if len(probes) < 2:
        return []
    variety = [
        np.mean([_distances(runs[a], runs[b]) for a, b in combinations(probes, 2)], axis=0) for runs in (before, now)
    ]
    left = _ratio(variety[1], variety[0])
    layer = _begins(left < VARIETY_LEFT)
    if layer is None:
        return []
    message = (
        f"the pictures of the class become alike from layer {_name(now[probes[0]], layer)} on: {left[-1]:.2f} of "
        f"their variety before training is left (alarm below {VARIETY_LEFT:g})"
    )
    return [Alarm("collapse", epoch, _name(now[probes[0]], layer), probes[0], message)]


def _drifted(history: TrainingHistory, epoch: int, before: dict[int, LensRun], now: dict[int, LensRun]) -> list[Alarm]:
    alarms = []
    for probe in _of_role(history, "control", before, now):
        share = _ratio(_distances(before[probe], now[probe]), _apart(history, before, probe))
        layer = _begins(share >= MOVED)
        if layer is None:
            continue
        message = (
            f"“{history.probes[probe].prompt}” has changed from layer {_name(now[probe], layer)} on, though it has "
            f"nothing to do with the subject: its picture moved {share[-1]:.2f} of the way to another prompt's (alarm "
            f"from {MOVED:g})"
        )
        alarms.append(Alarm("drift", epoch, _name(now[probe], layer), probe, message))
    return alarms


def _runs(history: TrainingHistory, epoch: int) -> dict[int, LensRun]:
    """The runs of an epoch by the number of their probe."""
    probes = range(len(history.probes)) if epoch in history.epochs else ()
    return {probe: history.run(epoch, probe) for probe in probes if history.has(epoch, probe)}


def _of_role(history: TrainingHistory, role: str, *runs: dict[int, LensRun]) -> list[int]:
    return [i for i, probe in enumerate(history.probes) if probe.role == role and all(i in each for each in runs)]


def _distances(a: LensRun, b: LensRun) -> np.ndarray:
    """How far two runs' pictures are apart at each layer of `b`, from the embedding on; NaN where one is missing."""
    return np.array([latent_rms(a.latents.get(layer), b.latents.get(layer)) for layer in sorted(b.layers)])


def _apart(history: TrainingHistory, before: dict[int, LensRun], probe: int) -> np.ndarray:
    """How far other prompts' pictures were from this one's before training, at each layer: the median of all others."""
    numbers = [number for number in before if number != probe and _same_noise(history, number, probe)]
    others = [_distances(before[number], before[probe]) for number in numbers]
    return np.median(others, axis=0) if others else _unrelated(before[probe])


def _unrelated(run: LensRun) -> np.ndarray:
    """√2 of the latents' spread, at each layer: how far pictures are apart that have nothing in common."""
    return np.array([np.sqrt(2) * run.latents[k].std() if k in run.latents else np.nan for k in sorted(run.layers)])


def _same_noise(history: TrainingHistory, a: int, b: int) -> bool:
    return history.probes[a].noise == history.probes[b].noise


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


def _begins(bad: np.ndarray) -> int | None:
    """Where the unbroken row of bad layers begins that goes on to the last one; None where that is good."""
    good = np.flatnonzero(~bad)
    begin = int(good[-1]) + 1 if len(good) else 0
    return begin if begin < len(bad) else None


def _name(run: LensRun, place: int) -> int:
    return sorted(run.layers)[place]
