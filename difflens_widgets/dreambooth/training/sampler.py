"""What each step trains on: pictures, noise and timesteps, from (seed, step) and nothing else.

So a training that was killed and resumed goes on as if nothing had happened, and any number of processes or parts of
a batch draws the same as one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def generator_of(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator for one purpose; neighbouring seeds and indices have nothing in common."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Draw:
    """What one optimizer step trains on, for all processes; rows of the class (where there are any) come second.

    Attributes
    ----------
    pictures : int Tensor (kinds, samples)
        Which instance pictures, then which class pictures; `kinds` is 1 or 2.
    encoding : Tensor (kinds, samples, C, h, w)
        The noise that draws latents from their distribution.
    noise : Tensor (kinds, samples, C, h, w)
        The noise to be predicted.
    timesteps : int Tensor (kinds, samples)
    """

    pictures: Tensor
    encoding: Tensor
    noise: Tensor
    timesteps: Tensor

    def part(self, start: int, stop: int) -> Draw:
        """Some of the samples: one process' share, or one batch of an accumulated step."""
        return Draw(*(tensor[:, start:stop] for tensor in vars(self).values()))


@dataclass(frozen=True)
class Plan:
    """How pictures, epochs and steps hang together.

    Instance pictures come in a new order in each epoch, in one endless row that batches are cut from: epoch e is over
    with the step in which every picture has been seen e times.
    """

    seed: int
    epochs: int
    instances: int
    classes: int  # 0: no prior preservation
    samples: int  # of one optimizer step, over all processes
    latent_shape: tuple[int, int, int]
    timesteps: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.last_step_of(self.epochs)

    def last_step_of(self, epoch: int) -> int:
        """How many steps are done when `epoch` epochs are over."""
        return -(-epoch * self.instances // self.samples)

    def epoch_of(self, step: int) -> int:
        """The epoch that step `step` (1 is the first) ends in."""
        return min(self.epochs, -(-step * self.samples // self.instances))

    def epochs_over_after(self, step: int) -> int:
        """How many epochs are over when `step` steps are done."""
        return min(self.epochs, step * self.samples // self.instances)

    def draw(self, step: int) -> Draw:
        """What step `step` (0 is the first here) trains on."""
        kinds = 2 if self.classes else 1
        first = step * self.samples
        pictures = [self._pictures("instances", self.instances, first)]
        if self.classes:
            pictures.append(self._pictures("classes", self.classes, first))
        generator = generator_of(self.seed, "noise", step)
        shape = (kinds, self.samples, *self.latent_shape)
        encoding = torch.randn(shape, generator=generator)
        noise = torch.randn(shape, generator=generator)
        timesteps = torch.randint(0, self.timesteps, (kinds, self.samples), generator=generator)
        return Draw(torch.from_numpy(np.stack(pictures)), encoding, noise, timesteps)

    def _pictures(self, purpose: str, count: int, first: int) -> np.ndarray:
        chosen = []
        for place in range(first, first + self.samples):
            turn, within = divmod(place, count)
            order = torch.randperm(count, generator=generator_of(self.seed, purpose, turn))
            chosen.append(int(order[within]))
        return np.array(chosen)
