"""The lens runs of a training history: on disk, read when asked for, the last few kept in memory. Needs no torch."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...runs.run import LensRun
from . import drift
from . import files as files
from .events import Probe

_RUNS_IN_MEMORY = 16  # of 13 pictures of 512² each about 10 MB


class Runs(Mapping[int, dict[str, LensRun]]):
    """Epoch → name of the probe → run. All runs of a probe can be compared: they have the same layers.

    A probe's name is its prompt, and the number of the noise where it is not the first.

    Attributes
    ----------
    epochs : tuple of int
        Those with at least one run.
    """

    def __init__(self, folder: Path, probes: Sequence[Probe]) -> None:
        self._folder, self._probes = folder, probes
        self._painted = files.painted(folder, len(probes))
        self._layers: tuple[int, ...] | None = None  # of all runs; known with the first that is seen
        self._memory: OrderedDict[tuple[int, int], LensRun] = OrderedDict()
        self._drifts: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        self._lock = threading.RLock()

    def __getitem__(self, epoch: int) -> dict[str, LensRun]:
        return {self._probes[probe].name: self.get_one(epoch, probe) for probe in sorted(self._painted[epoch])}

    def __iter__(self) -> Iterator[int]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self._painted)

    @property
    def epochs(self) -> tuple[int, ...]:
        """See the class."""
        with self._lock:
            return tuple(sorted(self._painted))

    def has(self, epoch: int, probe: int) -> bool:
        """Whether there is a run."""
        return probe in self._painted.get(epoch, ())

    def get_one(self, epoch: int, probe: int) -> LensRun:
        """Read a run, unless it is in memory.

        Raises
        ------
        ValueError
            If there is none, or its file is damaged or not of this probe.
        """
        prompt = self._prompt(probe)
        if not self.has(epoch, probe):
            there = [each for each in self.epochs if self.has(each, probe)]
            raise ValueError(f"epoch: {prompt!r} was not painted at epoch {epoch}; there are {there or 'none'}")
        with self._lock:
            run = self._memory.get((epoch, probe))
            if run is None:
                path = files.lens_file(self._folder, epoch, probe)
                run = LensRun.load(path)
                self._check(run, probe, str(path))
            self._remember(epoch, probe, run)
            return run

    def keep(self, epoch: int, probe: int, run: LensRun) -> None:
        """Write a run.

        Raises
        ------
        ValueError
            If it is not of this probe, or has other layers than the other runs.
        OSError
            If it cannot be written.
        """
        self._check(run, probe, "run")
        if not 0 <= epoch <= files.MAX_EPOCH:
            raise ValueError(f"epoch: {epoch} is wrong, 0 to {files.MAX_EPOCH:,} would be right")
        path = files.lens_file(self._folder, epoch, probe)
        path.parent.mkdir(parents=True, exist_ok=True)
        run.save(path)
        with self._lock:
            self._drifts = {key: known for key, known in self._drifts.items() if key != (epoch, probe) and epoch}
            self._painted.setdefault(epoch, set()).add(probe)
            self._remember(epoch, probe, run)

    def forget_after(self, epoch: int) -> None:
        """Delete all of later epochs, their weights too."""
        with self._lock:
            self._painted = {each: probes for each, probes in self._painted.items() if each <= epoch}
            for known in [key for key in (*self._memory, *self._drifts) if key[0] > epoch]:
                self._memory.pop(known, None)
                self._drifts.pop(known, None)
            for place in files.epoch_folders(self._folder):
                if int(place.name) > epoch:
                    shutil.rmtree(place)

    def drift(self, epoch: int, probe: int) -> dict[str, np.ndarray]:
        """How far a probe has moved since epoch 0: measure → (layers,); NaN where it was not painted."""
        first = self.get_one(0, probe)
        if not self.has(epoch, probe):
            return drift.unknown(len(first.layers))
        with self._lock:
            if (epoch, probe) not in self._drifts:
                self._drifts[epoch, probe] = drift.between(first, self.get_one(epoch, probe))
            return self._drifts[epoch, probe]

    def _check(self, run: LensRun, probe: int, what: str) -> None:
        """Refuse what cannot be compared with the other runs of this history."""
        prompt = self._prompt(probe)
        if run.prompt != prompt:
            raise ValueError(f"{what}: is of {run.prompt!r}, one of probe {probe}, {prompt!r}, would be right")
        layers = tuple(sorted(run.layers))
        if self._layers is None:
            self._layers = layers
        if layers != self._layers:
            raise ValueError(
                f"{what}: has the layers {layers}, those of the other runs, {self._layers}, would be right"
            )

    def _prompt(self, probe: int) -> str:
        if not 0 <= probe < len(self._probes):
            raise ValueError(f"probe: {probe} is wrong, 0 to {len(self._probes) - 1} would be right")
        return self._probes[probe].prompt

    def _remember(self, epoch: int, probe: int, run: LensRun) -> None:
        self._memory[epoch, probe] = run
        self._memory.move_to_end((epoch, probe))
        while len(self._memory) > _RUNS_IN_MEMORY:
            self._memory.popitem(last=False)
