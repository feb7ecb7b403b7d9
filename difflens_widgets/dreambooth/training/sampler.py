"""What each step trains on: images, noise and timesteps, computed from (seed, step) and nothing else.

So a training that was killed and resumed continues as if nothing had happened, and several processes, or several parts
of an accumulated batch, use the same rows as one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import torch
from torch import Tensor


def generator_of(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator for one purpose; neighbouring seeds and indices give unrelated numbers."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class RowGroup:
    """Rows of a step that come from one set of images.

    Attributes
    ----------
    name : str
        Part of the seed of the order of the images.
    images : int
        How many there are.
    rows : int
        How many of them each optimizer step uses, over all processes.
    caption_dropout : float
        The probability that a row is trained with the empty prompt.
    """

    name: str
    images: int
    rows: int
    caption_dropout: float = 0.0


@dataclass(frozen=True)
class TrainingBatch:
    """The rows of one optimizer step, group after group: first the instance rows, then those of the prior.

    Attributes
    ----------
    groups : tuple of int
        How many rows each group has; they add up to `rows`.
    images : int64 Tensor (rows,)
        The index of the image within the images of its group.
    encoding : float32 Tensor (rows, C, h, w)
        Standard normal; draws latents from the distribution that the autoencoder gives.
    noise : float32 Tensor (rows, C, h, w)
        Standard normal; added to the latents.
    timesteps : int64 Tensor (rows,)
    without_caption : bool Tensor (rows,)
        Rows that are trained with the empty prompt.
    """

    groups: tuple[int, ...]
    images: Tensor
    encoding: Tensor
    noise: Tensor
    timesteps: Tensor
    without_caption: Tensor

    def part(self, index: int, of: int) -> TrainingBatch:
        """Part `index` of `of` equal parts, each with the same share of every group: for one process, say."""
        sizes = tuple(rows // of for rows in self.groups)
        parts = []
        for tensor in (getattr(self, field.name) for field in fields(self) if field.name != "groups"):
            groups = zip(tensor.split(self.groups), sizes, strict=True)
            parts.append(torch.cat([group[index * size : (index + 1) * size] for group, size in groups]))
        return TrainingBatch(sizes, *parts)


@dataclass(frozen=True)
class BatchSampler:
    """Chooses the rows of every step, and tells how steps and epochs relate.

    Images come in a new order in each pass. Batches are cut from one endless sequence of passes: an epoch is completed
    by the step in which every instance image has been used that many times.

    Attributes
    ----------
    seed : int
    num_epochs : int
    groups : tuple of RowGroup
        The first is that of the instance images.
    latent_shape : (C, h, w)
    timesteps : int
        Of the noise schedule.
    max_steps : int, optional
        Ends the training instead of `num_epochs`.
    stratified : bool
        Divide the timesteps into as many equal ranges as a group has rows, and draw one from each.
    """

    seed: int
    num_epochs: int
    groups: tuple[RowGroup, ...]
    latent_shape: tuple[int, int, int]
    timesteps: int
    max_steps: int | None = None
    stratified: bool = False

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        instances = self.groups[0]
        return self.max_steps or -(-self.num_epochs * instances.images // instances.rows)

    @property
    def epochs(self) -> int:
        """The number of the last epoch; `max_steps` may end the training in the middle of it."""
        return self.num_epochs if self.max_steps is None else self._epochs_of(self.max_steps)

    def last_step_of(self, epoch: int) -> int:
        """How many steps are done when `epoch` epochs are completed."""
        instances = self.groups[0]
        return min(self.steps, -(-epoch * instances.images // instances.rows))

    def epoch_of(self, step: int) -> int:
        """The epoch in which step `step` (the first is 1) ends."""
        return min(self.epochs, self._epochs_of(step))

    def completed_epochs(self, step: int) -> int:
        """How many epochs are completed when `step` steps are done; the end of the training completes the last one."""
        instances = self.groups[0]
        return self.epochs if step >= self.steps else step * instances.rows // instances.images

    def draw(self, step: int) -> TrainingBatch:
        """The rows of step `step`; here the first is 0."""
        images = [index for group in self.groups for index in self._images(group, step * group.rows)]
        sizes = tuple(group.rows for group in self.groups)
        generator = generator_of(self.seed, "noise", step)
        encoding, noise = (torch.randn(len(images), *self.latent_shape, generator=generator) for _ in range(2))
        timesteps = torch.randint(0, self.timesteps, (len(images),), generator=generator)
        if self.stratified:
            generator = generator_of(self.seed, "timesteps", step)
            timesteps = torch.cat([self._stratified(rows, generator) for rows in sizes])
        chance = torch.rand(len(images), generator=generator_of(self.seed, "caption dropout", step))
        share = torch.tensor([group.caption_dropout for group in self.groups for _ in range(group.rows)])
        return TrainingBatch(sizes, torch.tensor(images), encoding, noise, timesteps, chance < share)

    def _epochs_of(self, step: int) -> int:
        instances = self.groups[0]
        return -(-step * instances.rows // instances.images)

    def _images(self, group: RowGroup, first: int) -> list[int]:
        chosen = []
        for position in range(first, first + group.rows):
            turn, within = divmod(position, group.images)
            order = torch.randperm(group.images, generator=generator_of(self.seed, group.name, turn))
            chosen.append(int(order[within]))
        return chosen

    def _stratified(self, rows: int, generator: torch.Generator) -> Tensor:
        ranges = torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator)
        return (ranges / rows * self.timesteps).long().clamp(max=self.timesteps - 1)
