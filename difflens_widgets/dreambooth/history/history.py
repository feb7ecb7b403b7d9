"""TrainingHistory: a training as it went: losses, what the lens saw, alarms, weights. Reads without torch."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...runs.events import Done, Status
from ...runs.render.grid import png
from ...runs.run import LensRun
from . import alarms as watch
from . import archive as zipped
from . import files as files
from . import render as film
from .drift import MEASURES
from .events import Alarm, EpochValidated, LossLogged, Probe, TrainingEvent
from .runs import Runs

if TYPE_CHECKING:
    import torch

    from ...lens.diffusion_lens import DiffusionLens


class TrainingHistory:
    """A training in a folder, see `_history_files` for what stands where. Made by `create` or `load`.

    Everything is on disk as soon as it has happened, so a training that is killed loses nothing that was recorded.

    Attributes
    ----------
    folder : Path
    config : dict
        What was trained and how; JSON.
    model : str
        The name or folder of the model before training.
    model_hash : str
    probes : tuple of Probe
        The prompts that are painted again and again, from the same noise.
    status : "running", "done", "stopped" or "failed"
        A training that was broken off is "stopped".
    message : str
        Why it failed or was broken off.
    alarms : list of Alarm
        The first epoch at which each kind went wrong for each probe.
    runs : mapping of epoch → dict of prompt (`Probe.name`) → LensRun
        Read from disk when asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is there; use `create` or `load`."""
        root = files.read_training(folder)
        self.folder = folder
        try:
            self.config: dict[str, Any] = root.mapping("config")
            self.model, self.model_hash = root.text("model"), root.text("model_hash")
            self.probes = files.read_probes(root)
            files.check_probes(self.probes)
        except ValueError as error:
            where = folder / files.TRAINING
            raise ValueError(str(error) if str(where) in str(error) else f"{where}: {error}") from error
        self.status: Status
        self.status, self.message = files.read_status(folder)
        self.alarms = files.read_alarms(folder)
        self._rows = files.read_losses(folder)
        self._runs = Runs(folder, self.probes)
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls, folder: str | Path, *, config: dict[str, Any], model: str, model_hash: str, probes: Sequence[Probe]
    ) -> TrainingHistory:
        """Begin a history; the folder may be there, but may hold no other training.

        Raises
        ------
        ValueError
            If it does, a probe is wrong or there twice, or the config holds what JSON cannot.
        """
        folder = Path(folder)
        used = [name for name in (files.TRAINING, files.LOSSES, files.EPOCHS) if (folder / name).exists()]
        if used:
            raise ValueError(
                f"folder: {folder} holds a training already ({used[0]}): resume that one, or choose another folder"
            )
        files.check_probes(probes)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_training(folder, config, model, model_hash, probes)
        files.write_status(folder, "running", "")
        history = cls(folder)
        history.status, history.message = "running", ""
        return history

    @classmethod
    def load(cls, path: str | Path, folder: str | Path | None = None) -> TrainingHistory:
        """Open the folder of a training, also of an aborted one; or a zip that `save` wrote.

        Parameters
        ----------
        path : str or Path
            A folder, which is left as it is; or a zip.
        folder : str or Path, optional
            Where to unpack a zip: a new or empty folder. By default a temporary one, gone with this object.

        Raises
        ------
        ValueError
            If it holds no training, one of a newer version, or a damaged one; names file and reason. Lens files are
            read and checked when they are asked for.
        FileNotFoundError, PermissionError, ...
            If it cannot be opened.
        """
        path = Path(path)
        if path.is_dir():
            if folder is not None:
                raise ValueError(f"folder: {folder} is for unpacking a zip, and {path} is a folder")
            if not (path / files.TRAINING).exists():
                raise ValueError(f"{path}: holds no training: there is no {files.TRAINING}")
            return cls(path)
        if folder is None:
            temporary = tempfile.mkdtemp(prefix="difflens-")
            try:
                history = cls.load(path, Path(temporary, "training"))
            except BaseException:
                shutil.rmtree(temporary)
                raise
            weakref.finalize(history, shutil.rmtree, temporary, ignore_errors=True)
            return history
        zipped.unpack(path, Path(folder))
        try:
            return cls(Path(folder))
        except ValueError:
            shutil.rmtree(folder)
            raise

    # -- what was recorded

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs with lens runs; 0 is the model before training."""
        return self._runs.epochs

    @property
    def losses(self) -> dict[str, np.ndarray]:
        """One row for each logged step: "step" and "epoch" (int64), "loss", "learning_rate", ... (float64).

        With prior preservation also "instance_loss" and "prior_loss". NaN where a number was not finite or not told.
        """
        rows = list(self._rows)
        names = list(dict.fromkeys(["step", "epoch", "loss", "learning_rate", *(name for row in rows for name in row)]))
        return {
            name: np.array([row.get(name, np.nan) for row in rows], np.int64 if name in ("step", "epoch") else float)
            for name in names
        }

    @property
    def runs(self) -> Runs:
        """The lens runs: epoch → prompt → run; each is read from disk when asked for."""
        return self._runs

    def run(self, epoch: int, probe: int = 0) -> LensRun:
        """The run of one probe at one epoch.

        Raises
        ------
        ValueError
            If it was not painted, or its file is damaged: names the file and the reason.
        """
        return self._runs.get_one(epoch, probe)

    def has(self, epoch: int, probe: int) -> bool:
        """Whether a probe was painted at an epoch."""
        return self._runs.has(epoch, probe)

    def drift(self, probe: int = 0) -> dict[str, np.ndarray]:
        """How far each layer has moved since epoch 0.

        Returns
        -------
        dict of measure → float64 array (epochs, layers)
            Rows are `epochs`, columns the layers of the probe's runs from the embedding on. The measures are those of
            `dreambooth.drift`: "cosine_distance" of the states, "latent_rms" and "ssim_distance" (1 − SSIM) of the
            pictures. 0: nothing changed; NaN: not painted.

        Raises
        ------
        ValueError
            If the probe was not painted at epoch 0, or a run cannot be read.
        """
        self._runs.get_one(0, probe)
        rows = [self._runs.drift(epoch, probe) for epoch in self.epochs]
        return {name: np.stack([row[name] for row in rows]) for name in MEASURES}

    def lens(
        self, epoch: int, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> DiffusionLens:
        """A lens on the model as it was after an epoch; needs torch.

        Raises
        ------
        ValueError
            If the weights of that epoch were not kept.
        """
        weights = self.weights_folder(epoch)
        kept = weights.is_dir()
        if not kept and epoch != 0:
            there = [each for each in self.epochs if self.weights_folder(each).is_dir()]
            raise ValueError(f"epoch: the weights of epoch {epoch} were not kept; there are those of {there or 'none'}")
        from ...lens.diffusion_lens import DiffusionLens

        if not kept:  # nothing was trained yet
            return DiffusionLens.from_pretrained(self.model, device=device, dtype=dtype)
        from ...models.tuned import load_tuned

        return DiffusionLens(load_tuned(self.model, weights, device, dtype), model=f"{self.model}, epoch {epoch}")

    # -- recording

    def record(self, event: TrainingEvent) -> list[Alarm]:
        """Write down what happened, and return the alarms that this raises; events of other kinds are passed over.

        Raises
        ------
        ValueError
            If it does not fit: a step that does not follow the last one, a run of another prompt.
        OSError
            If it cannot be written; what was there before is untouched.
        """
        with self._lock:
            if isinstance(event, LossLogged):
                self._log(event)
            elif isinstance(event, EpochValidated):
                return self._keep_run(event)
            elif isinstance(event, Done):
                self._set_status(event.status, event.message)
        return []

    def weights_folder(self, epoch: int) -> Path:
        """Where the trained weights of an epoch are kept, or would be; it is not made here."""
        return files.epoch_folder(self.folder, epoch) / "weights"

    def truncate(self, step: int, epoch: int) -> None:
        """Go back to where a resumed training goes on: forget what came after `step`, and after `epoch`."""
        with self._lock:
            self._rows = [row for row in self._rows if row["step"] <= step]
            files.write_losses(self.folder, self._rows)
            self.alarms = [alarm for alarm in self.alarms if alarm.epoch <= epoch]
            self._runs.forget_after(epoch)
            if self.epochs:  # killed between a run and its alarm: the run would not be painted again
                self.alarms += watch.look(self, self.epochs[-1])
            files.write_alarms(self.folder, self.alarms)
            self._set_status("running", "")

    def save(self, path: str | Path, *, weights: bool = True) -> Path:
        """Write all into one zip of at most 4 GB, which `load` takes; without `weights` not what was trained."""
        with self._lock:
            return zipped.save(self.folder, Path(path), weights=weights)

    def grid(self, probe: int = 0) -> Image.Image:
        """All pictures of a probe in one: epochs across, layers down."""
        return film.matrix(self, probe)

    def to_gif(self, path: str | Path, *, layer: int, probe: int = 0, seconds_per_epoch: float = 0.5) -> Path:
        """Write what one layer becomes from epoch to epoch as an animated GIF."""
        return film.to_gif(self, Path(path), layer, probe, seconds_per_epoch)

    def _repr_png_(self) -> bytes | None:
        return png(self.grid()) if self.epochs and self.has(self.epochs[0], 0) else None

    def __repr__(self) -> str:
        return f"TrainingHistory({str(self.folder)!r}, {len(self.epochs)} epochs painted, {self.status})"

    # -- inside

    def _log(self, event: LossLogged) -> None:
        if self._rows and event.step <= self._rows[-1]["step"]:
            raise ValueError(f"step: {event.step} was logged already, the last is {int(self._rows[-1]['step'])}")
        row = files.loss_row(event.step, event.epoch, event.values)
        files.append_loss(self.folder, row)
        self._rows.append(row)

    def _keep_run(self, event: EpochValidated) -> list[Alarm]:
        self._runs.keep(event.epoch, event.probe, event.run)
        raised = watch.look(self, event.epoch)
        if raised:
            self.alarms = [*self.alarms, *raised]
            files.write_alarms(self.folder, self.alarms)
        return raised

    def _set_status(self, status: Status, message: str) -> None:
        files.write_status(self.folder, status, message)
        self.status, self.message = status, message
