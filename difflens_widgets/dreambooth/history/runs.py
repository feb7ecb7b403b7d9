"""The lens runs of a training history: on disk, read when they are used, the last few kept in memory. No torch."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...runs.run import LensRun
from . import files as files
from .events import ValidationPrompt
from .training_drift import training_drift, unknown_drift

_RUNS_IN_MEMORY = 16  # a run of 13 images of 512² takes about 10 MB


class Runs(Mapping[int, dict[str, LensRun]]):
    """Epoch → name of the validation prompt → run. All runs have the same layers, so they can be compared.

    Files are read outside of the lock: a reader never makes a training wait that adds its next run.

    Attributes
    ----------
    epochs : tuple of int
        Those with at least one run.
    """

    def __init__(self, folder: Path, prompts: Sequence[ValidationPrompt]) -> None:
        self._folder, self._prompts = folder, prompts
        self._stored = files.stored_runs(folder, len(prompts))
        self._layers: tuple[int, ...] | None = None  # of all runs; known from the first that is read or added
        self._memory: OrderedDict[tuple[int, int], LensRun] = OrderedDict()
        self._drifts: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._lock = threading.RLock()

    def __getitem__(self, epoch: int) -> dict[str, LensRun]:
        with self._lock:
            indices = sorted(self._stored[epoch])
        return {self._prompts[index].name: self.get_one(epoch, index) for index in indices}

    def __iter__(self) -> Iterator[int]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def epochs(self) -> tuple[int, ...]:
        """See the class."""
        with self._lock:
            return tuple(sorted(self._stored))

    def has(self, epoch: int, index: int) -> bool:
        """Whether there is a run of this epoch and validation prompt."""
        return index in self._stored.get(epoch, ())

    def get_one(self, epoch: int, index: int) -> LensRun:
        """The run of an epoch and a validation prompt, read from disk if it is not in memory.

        Raises
        ------
        ValueError
            If there is none, or its file is damaged or belongs to another prompt.
        """
        prompt = self._prompt(index)
        if not self.has(epoch, index):
            there = [each for each in self.epochs if self.has(each, index)]
            raise ValueError(f"epoch: there is no run of {prompt!r} at epoch {epoch}, only at {there or 'none'}")
        with self._lock:
            known = self._memory.get((epoch, index))
        if known is None:
            path = files.lens_file(self._folder, epoch, index)
            known = LensRun.load(path)
            self._check(known, index, str(path))
        with self._lock:
            if self.has(epoch, index):  # it was not deleted meanwhile
                self._remember(epoch, index, known)
        return known

    def add(self, epoch: int, index: int, run: LensRun) -> None:
        """Write a run to disk.

        Raises
        ------
        ValueError
            If it has another prompt, or other layers than the other runs.
        OSError
            If it cannot be written.
        """
        self._check(run, index, "run")
        if not 0 <= epoch <= files.MAX_EPOCH:
            raise ValueError(f"epoch: {epoch} is wrong, it must be from 0 to {files.MAX_EPOCH:,}")
        path = files.epoch_folder(self._folder, epoch) / f"prompt_{index:02d}.lens"
        path.parent.mkdir(parents=True, exist_ok=True)
        run.save(path)
        with self._lock:
            self._drifts = {key: known for key, known in self._drifts.items() if key != (epoch, index) and epoch}
            self._stored.setdefault(epoch, set()).add(index)
            self._remember(epoch, index, run)

    def forget_after(self, epoch: int) -> None:
        """Delete everything of later epochs, the weights too."""
        with self._lock:
            self._stored = {each: indices for each, indices in self._stored.items() if each <= epoch}
            for known in [key for key in (*self._memory, *self._drifts) if key[0] > epoch]:
                self._memory.pop(known, None)
                self._drifts.pop(known, None)
            for place in files.epoch_folders(self._folder):
                if int(place.name) > epoch:
                    shutil.rmtree(place)

    def training_drift(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        """How much a validation prompt changed since epoch 0: metric → (layers,); NaN where there is no run."""
        first = self.get_one(0, index)
        if not self.has(epoch, index):
            return unknown_drift(len(first.layers))
        with self._lock:
            known = self._drifts.get((epoch, index))
        if known is None:
            known = training_drift(first, self.get_one(epoch, index))
            with self._lock:
                if self.has(epoch, index):
                    self._drifts[epoch, index] = known
        return known

    def _check(self, run: LensRun, index: int, what: str) -> None:
        """Refuse a run that cannot be compared with the other runs of this history."""
        prompt = self._prompt(index)
        if run.prompt != prompt:
            raise ValueError(f"{what}: has the prompt {run.prompt!r}, but validation prompt {index} is {prompt!r}")
        layers = tuple(sorted(run.layers))
        with self._lock:
            self._layers = self._layers or layers
            if layers != self._layers:
                raise ValueError(f"{what}: has the layers {layers}, but the other runs have {self._layers}")

    def _prompt(self, index: int) -> str:
        if not 0 <= index < len(self._prompts):
            raise ValueError(f"validation_prompt: {index} is wrong, it must be from 0 to {len(self._prompts) - 1}")
        return self._prompts[index].prompt

    def _remember(self, epoch: int, index: int, run: LensRun) -> None:
        self._memory[epoch, index] = run
        self._memory.move_to_end((epoch, index))
        while len(self._memory) > _RUNS_IN_MEMORY:
            self._memory.popitem(last=False)
