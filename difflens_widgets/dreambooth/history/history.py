"""TrainingHistory: the record of a training: losses, lens runs, alarms, weights. Reads without torch."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...runs.events import Done, Status
from ...runs.render.grid import png
from ...runs.render.page import PageView, WithPage
from ...runs.run import LensRun
from . import archive, files, front_end, render
from .alarms import check_alarms
from .events import Alarm, EpochValidated, LossLogged, TrainingEvent, ValidationPrompt
from .runs import Runs
from .training_drift import METRICS

if TYPE_CHECKING:
    from ...lens.diffusion_lens import DiffusionLens


class TrainingHistory(WithPage):
    """A training in a folder; `history.files` lists the files in it. Made by `create` or `load`.

    Everything is on disk as soon as it has happened, so a training that is killed loses nothing that was recorded.

    Attributes
    ----------
    folder : Path
    config : dict, the keys and values of the `DreamBoothConfig`, as JSON keeps them
    model, model_hash : str, the name or folder of the model before training, and the hash of its weights
    validation_prompts : tuple of ValidationPrompt
        The lens runs on these at every validation, from the same noise.
    status : "running", "done", "stopped" (or killed) or "failed"
    message : str, why it failed or stopped
    alarms : list of Alarm
        For each prompt and each kind of alarm the first epoch that raised it; it may pass, see `alarms_at`.
    runs : mapping of epoch → dict of prompt (`ValidationPrompt.name`) → LensRun
        Each run is read from disk when it is used.
    """

    def __init__(self, folder: Path) -> None:
        """Read a folder; use `create` or `load`."""
        root = files.read_training(folder)
        self.folder = folder
        try:
            self.config: dict[str, Any] = root.mapping("config")
            self.model, self.model_hash = root.text("model"), root.text("model_hash")
            self.validation_prompts = files.read_prompts(root)
            files.check_prompts(self.validation_prompts)
        except ValueError as error:
            where = str(folder / files.TRAINING)
            raise ValueError(str(error) if where in str(error) else f"{where}: {error}") from error
        self.status, self.message = files.read_status(folder)
        self.alarms = files.read_alarms(folder)
        self._rows = files.read_losses(folder)
        self._runs = Runs(folder, self.validation_prompts)
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        config: dict[str, Any],
        model: str,
        model_hash: str,
        validation_prompts: Sequence[ValidationPrompt],
    ) -> TrainingHistory:
        """Begin a history; the folder may exist, but must not hold another training.

        Raises
        ------
        ValueError
            If it does, a validation prompt is wrong or there twice, or the config holds what JSON cannot.
        """
        folder = Path(folder)
        used = [name for name in (files.TRAINING, files.LOSSES, files.EPOCHS) if (folder / name).exists()]
        if used:
            raise ValueError(
                f"folder: {folder} holds a training already ({used[0]}): resume that one, or choose another folder"
            )
        files.check_prompts(validation_prompts)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_training(folder, config, model, model_hash, validation_prompts)
        files.write_status(folder, "running", "")
        history = cls(folder)
        history.status, history.message = "running", ""
        return history

    @classmethod
    def load(cls, path: str | Path, folder: str | Path | None = None) -> TrainingHistory:
        """Open the folder of a training, complete or not, or a zip that `save` wrote.

        Parameters
        ----------
        path : str or Path
            A folder, which is not changed; or a zip.
        folder : str or Path, optional
            A new or empty folder to unpack a zip into. By default a temporary one, deleted with this object.

        Raises
        ------
        ValueError
            If it holds no training, one of a newer version, or a damaged one; names file and reason. Lens files are
            read and checked when they are used.
        OSError
        """
        path = Path(path)
        if path.is_dir():
            if folder is not None:
                raise ValueError(f"folder: {folder} is for unpacking a zip, and {path} is a folder")
            if not (path / files.TRAINING).exists():
                raise ValueError(f"{path}: holds no training: there is no {files.TRAINING}")
            return cls(path)
        if folder is None:
            with ExitStack() as stack:
                temporary = tempfile.TemporaryDirectory(prefix="difflens-", ignore_cleanup_errors=True)
                history = cls.load(path, Path(stack.enter_context(temporary), "training"))
                weakref.finalize(history, stack.pop_all().close)
                return history
        archive.unpack(path, Path(folder))
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
        """Name → one number for each logged step; NaN where a number was not finite or not logged.

        "step", "epoch" (int64), "loss", "learning_rate" and, with prior preservation, "instance_loss", "prior_loss".
        """
        rows = list(self._rows)
        names = dict.fromkeys(["step", "epoch", "loss", "learning_rate", *(name for row in rows for name in row)])
        return {
            name: np.array([row.get(name, np.nan) for row in rows], np.int64 if name in ("step", "epoch") else float)
            for name in names
        }

    @property
    def runs(self) -> Runs:
        """The lens runs: epoch → prompt → run; each is read from disk when it is used."""
        return self._runs

    def run(self, epoch: int, validation_prompt: int = 0) -> LensRun:
        """The run of one validation prompt (its index) at one epoch.

        Raises
        ------
        ValueError
            If there is none, or its file is damaged.
        """
        return self._runs.get_one(epoch, validation_prompt)

    def has(self, epoch: int, validation_prompt: int) -> bool:
        """Whether there is a run of this validation prompt at this epoch."""
        return self._runs.has(epoch, validation_prompt)

    def alarms_at(self, epoch: int) -> list[Alarm]:
        """What is wrong at a validated epoch, whether it began there or before."""
        return check_alarms(self._runs, self.validation_prompts, epoch, ())

    def training_drift(self, validation_prompt: int = 0) -> dict[str, np.ndarray]:
        """How much each layer has changed since epoch 0.

        Returns
        -------
        dict of metric → float64 array (epochs, layers)
            Rows are `epochs`, columns the layers, ascending; see `history.training_drift.METRICS`. NaN: no run.

        Raises
        ------
        ValueError
            If there is no run at epoch 0, or a run cannot be read.
        """
        self._runs.get_one(0, validation_prompt)
        rows = [self._runs.training_drift(epoch, validation_prompt) for epoch in self.epochs]
        return {name: np.stack([row[name] for row in rows]) for name in METRICS}

    def lens(self, epoch: int, *, device: Any = None, dtype: Any = None) -> DiffusionLens:
        """A lens on the model with the weights after an epoch; needs torch. `device` and `dtype` are torch's.

        Raises
        ------
        ValueError
            If the weights of that epoch were not kept.
        """
        weights = self.weights_folder(epoch)
        if epoch != 0 and not weights.is_dir():
            there = [each for each in self.epochs if self.weights_folder(each).is_dir()]
            raise ValueError(f"epoch: the weights of epoch {epoch} were not kept; there are those of {there or 'none'}")
        from ...lens.diffusion_lens import DiffusionLens
        from ...models.tuned import load_tuned

        if not weights.is_dir():
            return DiffusionLens.from_pretrained(self.model, device=device, dtype=dtype)
        return DiffusionLens(load_tuned(self.model, weights, device, dtype), model=f"{self.model}, epoch {epoch}")

    # -- recording

    def record(self, event: TrainingEvent) -> list[Alarm]:
        """Write an event to disk, and return the alarms that it raises; events of other kinds are ignored.

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
                self._runs.add(event.epoch, event.validation_prompt, event.run)
                return self._check_alarms(event.epoch)
            elif isinstance(event, Done):
                self._set_status(event.status, event.message)
        return []

    def weights_folder(self, epoch: int) -> Path:
        """The folder of the trained weights of an epoch, whether it exists or not."""
        return files.epoch_folder(self.folder, epoch) / "weights"

    def truncate(self, step: int, epoch: int, config: dict[str, Any] | None = None) -> None:
        """Prepare to resume: delete what came after `step` and `epoch`; `config` (more steps, say) replaces the old."""
        with self._lock:
            if config is not None and config != self.config:
                files.write_training(self.folder, config, self.model, self.model_hash, self.validation_prompts)
                self.config = config
            self._rows = [row for row in self._rows if row["step"] <= step]
            files.write_losses(self.folder, self._rows)
            self.alarms = [alarm for alarm in self.alarms if alarm.epoch <= epoch]
            files.write_alarms(self.folder, self.alarms)
            self._runs.forget_after(epoch)
            if self.epochs:  # killed between a run and its alarm: the run would not be generated again
                self._check_alarms(self.epochs[-1])
            self._set_status("running", "")

    def save(self, path: str | Path, *, weights: bool = True) -> Path:
        """Write everything into one zip of at most 4 GB, which `load` reads; optionally without the trained weights."""
        with self._lock:
            return archive.save(self.folder, Path(path), weights=weights)

    def grid(self, validation_prompt: int = 0) -> Image.Image:
        """All images of a validation prompt on one sheet: epochs across, layers down."""
        return render.matrix(self._runs, self.validation_prompts, validation_prompt)

    def to_gif(
        self, path: str | Path, *, layer: int, validation_prompt: int = 0, seconds_per_epoch: float = 0.5
    ) -> Path:
        """Write the images of one layer, epoch by epoch, as an animated GIF."""
        prompts = self.validation_prompts
        return render.to_gif(self._runs, prompts, Path(path), layer, validation_prompt, seconds_per_epoch)

    def page_views(self, thinning: int = 0) -> list[PageView]:
        """An epoch scrubber; see `WithPage.page_views`."""
        return [front_end.page_view(self, thinning)]

    def _repr_png_(self) -> bytes | None:
        return png(self.grid()) if self.epochs and self.has(self.epochs[0], 0) else None

    def __repr__(self) -> str:
        return f"TrainingHistory({str(self.folder)!r}, {len(self.epochs)} epochs validated, {self.status})"

    def _log(self, event: LossLogged) -> None:
        if self._rows and event.step <= self._rows[-1]["step"]:
            raise ValueError(f"step: {event.step} was logged already, the last is {int(self._rows[-1]['step'])}")
        row = files.loss_row(event.step, event.epoch, event.values)
        files.append_loss(self.folder, row)
        self._rows.append(row)

    def _check_alarms(self, epoch: int) -> list[Alarm]:
        raised = check_alarms(self._runs, self.validation_prompts, epoch, self.alarms)
        if raised:
            self.alarms = [*self.alarms, *raised]
            files.write_alarms(self.folder, self.alarms)
        return raised

    def _set_status(self, status: Status, message: str) -> None:
        files.write_status(self.folder, status, message)
        self.status, self.message = status, message
