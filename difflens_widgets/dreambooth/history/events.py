"""The events of a training. Its history, the widgets and the command line listen to this one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ...runs.events import Done, Message
from ...runs.run import LensRun

Role = Literal["instance", "class", "control"]
Doing = Literal["class images", "training", "validation"]


@dataclass(frozen=True)
class ValidationPrompt:
    """A prompt for which the lens generates images at every validation, always from the same noise.

    Attributes
    ----------
    prompt : str
    role : "instance", "class" or "control"
        What the images show: whether the subject is learned ("instance"), whether its class stays varied ("class"),
        or whether something unrelated stays as it was ("control").
    seed_offset : int
        Added to the seed of the validation. The same prompt with several offsets shows how much its images vary.
    """

    prompt: str
    role: Role
    seed_offset: int = 0

    @property
    def name(self) -> str:
        """Unique in a training: the prompt, followed by the seed offset if that is not 0."""
        return f"{self.prompt} · seed +{self.seed_offset}" if self.seed_offset else self.prompt


@dataclass(frozen=True)
class LossLogged:
    """Optimizer step `step` (the first is 1) of epoch `epoch` (the first is 1) is done.

    `values` has "loss" and "learning_rate" and, with prior preservation, "instance_loss" and "prior_loss".
    """

    step: int
    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class EpochValidated:
    """The lens ran on one validation prompt with the weights after epoch `epoch`; 0 is the model before training.

    `validation_prompt` is the index of the prompt in `TrainingHistory.validation_prompts`.
    """

    epoch: int
    validation_prompt: int
    run: LensRun


class StoredValidation(EpochValidated):
    """A validation that is on disk already; `run` reads the file.

    Reading raises ValueError for a damaged file, and OSError for one that cannot be opened.
    """

    def __init__(self, epoch: int, validation_prompt: int, read: Callable[[int, int], LensRun]) -> None:
        """`read` returns the run of an epoch and a validation prompt."""
        for name, value in {"epoch": epoch, "validation_prompt": validation_prompt, "_read": read}.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen

    @property
    def run(self) -> LensRun:
        """Read the run, at every access."""
        return self._read(self.epoch, self.validation_prompt)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"StoredValidation(epoch={self.epoch}, validation_prompt={self.validation_prompt})"


@dataclass(frozen=True)
class Alarm:
    """Something began to go wrong.

    Attributes
    ----------
    kind : str
        "collapse" of the class, or "drift" of a control prompt.
    epoch : int
        The first epoch that shows it.
    layer : int
        The lowest layer from which on every layer shows it.
    validation_prompt : int
        Index of the prompt.
    message : str
    """

    kind: str
    epoch: int
    layer: int
    validation_prompt: int
    message: str


@dataclass(frozen=True)
class AlarmRaised:
    """The history has one more alarm."""

    alarm: Alarm


@dataclass(frozen=True)
class TrainingProgress:
    """How far the training is; `seconds_left` is None until it can be estimated."""

    step: int
    steps: int
    epoch: int
    epochs: int
    doing: Doing
    seconds_left: float | None


TrainingEvent = LossLogged | EpochValidated | AlarmRaised | TrainingProgress | Message | Done
TrainingListener = Callable[[TrainingEvent], None]
