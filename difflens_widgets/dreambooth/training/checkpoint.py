"""Checkpoints: the state from which a training resumes, one safetensors file for each of the last few."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from ..config import DreamBoothConfig
from .tensor_files import check_tensors, load_tensors, save_tensors
from .trainable import trained_parameters

_NAME = re.compile(r"step-(\d{8})\.safetensors")
# keys that may differ when a training resumes: they change neither weights nor images
_MAY_DIFFER = frozenset(
    {"checkpointing_steps", "checkpoints_total_limit", "output_dir", "keep_epoch_weights", "device"}
)
_LENGTH = ("num_train_epochs", "max_train_steps")
_INDEPENDENT_OF_LENGTH = ("constant", "constant_with_warmup")  # schedules of the learning rate
_SCHEMA = 1


class NotFiniteError(ArithmeticError):
    """A loss or a weight became NaN or infinite; the checkpoints that were saved before are kept."""


@dataclass
class State:
    """Everything that changes from step to step."""

    trained: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None = None
    scaler: Any = None  # of float16
    step: int = field(default=0)

    def save(self, folder: Path, config: Mapping[str, Any], model_hash: str, limit: int) -> Path:
        """Write a checkpoint, then delete all but the last `limit`.

        Raises
        ------
        NotFiniteError
            If a weight is NaN or infinite; nothing is written or deleted then.
        OSError
            If it cannot be written; the older ones are kept.
        """
        tensors = {f"trained/{name}": p.detach() for name, p in trained_parameters(self.trained).items()}
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise NotFiniteError(f"after step {self.step} the weight {name.partition('/')[2]} is not finite")
        numbers: dict[str, dict[str, Any]] = {}
        for index, slots in self.optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{slot}"] = value
                else:
                    numbers.setdefault(str(index), {})[slot] = value
        if self.ema is not None:
            tensors |= {f"average/{index:06d}": value for index, value in enumerate(self.ema.shadow_params)}
        facts = {
            "schema": _SCHEMA,
            "step": self.step,
            "model_hash": model_hash,
            "config": dict(config),
            "optimizer": numbers,
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"step-{self.step:08d}.safetensors"
        # clones: safetensors refuses tensors that share memory (tied weights, or views of one flat buffer)
        save_tensors({name: tensor.clone() for name, tensor in tensors.items()}, facts, path, "a checkpoint")
        for old in checkpoints(folder)[:-limit]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def load(self, path: Path) -> None:
        """Go back to a checkpoint that `newest_checkpoint` found.

        Raises
        ------
        ValueError
            If the file is damaged, or has other weights; nothing has changed then.
        """
        tensors, facts = load_tensors(path)
        parameters = trained_parameters(self.trained)
        saved = {key.removeprefix("trained/"): t for key, t in tensors.items() if key.startswith("trained/")}
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        if shapes != {name: tuple(tensor.shape) for name, tensor in saved.items()}:
            raise ValueError(f"{path}: holds other weights than the ones this training trains")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        state: dict[int, dict[str, Any]] = {int(i): dict(slots) for i, slots in facts["optimizer"].items()}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, index, slot = key.split("/", 2)
                state.setdefault(int(index), {})[slot] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        if self.ema is not None:
            for number, value in enumerate(self.ema.shadow_params):
                value.copy_(tensors[f"average/{number:06d}"])
            self.ema.optimization_step = facts["step"]
        if self.scaler is not None and facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.step = facts["step"]


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))


def step_of(checkpoint: Path) -> int:
    """After how many steps a checkpoint was saved."""
    return int(checkpoint.stem.removeprefix("step-"))


def newest_checkpoint(folder: Path, config: DreamBoothConfig, model_hash: str) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that can be read.

    Returns
    -------
    path : Path or None
        None if there is no checkpoint at all.
    messages : list of str
        For each newer one why it cannot be used.

    Raises
    ------
    ValueError
        If none of those that are there can be read, or the newest that can belongs to another model or other settings.
    """
    messages: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            facts = check_tensors(path)
        except ValueError as error:
            messages.append(str(error))
            continue
        if facts["schema"] != _SCHEMA:
            raise ValueError(f"{path}: has the format {facts.get('schema')}, this version reads {_SCHEMA}")
        if facts["model_hash"] != model_hash:
            raise ValueError(
                f"{path}: belongs to another model: its weights had the hash {facts['model_hash']}, these have "
                f"{model_hash}"
            )
        require_same(config, facts["config"])
        return path, [f"{message}. The training resumes from step {step_of(path)}" for message in messages]
    if messages:
        raise ValueError(messages[0])
    return None, []


def require_same(config: DreamBoothConfig, before: Mapping[str, Any]) -> None:
    """Check that a training can be resumed with `config`.

    Parameters
    ----------
    config : DreamBoothConfig
    before : mapping
        The settings the training began with, perhaps in the words of an older version, or without keys that were
        added since: these had their default then.

    Raises
    ------
    ValueError
        Names the first key that differs and must not. The length of a training may change if the learning rates do
        not depend on it.
    """
    try:
        former = DreamBoothConfig.from_dict(before)
    except ValueError as error:
        raise ValueError(f"this training began with settings that this version does not accept: {error}") from error
    for entry in fields(config):
        key, value, was = entry.name, getattr(config, entry.name), getattr(former, entry.name)
        if key in _MAY_DIFFER or value == was:
            continue
        if key not in _LENGTH:
            raise ValueError(f"{key}: {value!r} is not what this training began with, {was!r}; give the same to resume")
        if config.lr_scheduler not in _INDEPENDENT_OF_LENGTH:
            raise ValueError(
                f"{key}: {value!r} is not what this training began with, {was!r}: the learning rates of "
                f"{config.lr_scheduler!r} depend on it; only a constant schedule can be resumed with another length"
            )
