"""What a training says while it works; its history, the widgets and the command line all listen to this one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ...runs.events import Done, Message
from ...runs.run import LensRun

Role = Literal["instance", "class", "control"]
Doing = Literal["class pictures", "training", "painting"]


@dataclass(frozen=True)
class Probe:
    """A prompt that is painted through all layers again and again, from the same noise.

    `role` tells what it watches: the subject ("instance"), its class, or what has to stay as it was ("control").
    `noise` counts further noises of one prompt: how much its pictures vary is seen only with several.
    """

    prompt: str
    role: Role
    noise: int = 0

    @property
    def name(self) -> str:
        """Tells it from all other probes: the prompt, and the noise where it is not the first."""
        return f"{self.prompt} · noise {self.noise + 1}" if self.noise else self.prompt


@dataclass(frozen=True)
class LossLogged:
    """Optimizer step `step` (1 is the first) of epoch `epoch` (1 is the first) is done.

    `values` has "loss" and "learning_rate", and, with prior preservation, "instance_loss" and "prior_loss".
    """

    step: int
    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class EpochValidated:
    """Probe number `probe` was painted with the weights after epoch `epoch`; 0 is the model before training."""

    epoch: int
    probe: int
    run: LensRun


@dataclass(frozen=True)
class Alarm:
    """Something began to go wrong: what ("collapse", "drift"), at which epoch, first in which layer, and in words."""

    kind: str
    epoch: int
    layer: int
    probe: int
    message: str


@dataclass(frozen=True)
class AlarmRaised:
    """The record holds one more alarm."""

    alarm: Alarm


@dataclass(frozen=True)
class TrainingProgress:
    """Where the training stands; `doing` says in words what it is at, `seconds_left` is None until it can be told."""

    step: int
    steps: int
    epoch: int
    epochs: int
    doing: Doing
    seconds_left: float | None


TrainingEvent = LossLogged | EpochValidated | AlarmRaised | TrainingProgress | Message | Done
TrainingListener = Callable[[TrainingEvent], None]
