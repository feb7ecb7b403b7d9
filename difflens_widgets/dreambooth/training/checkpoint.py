"""The state of a training to go on from: one safetensors file for each of the last few."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .tensor_files import load_tensors, save_tensors
from .trainable import MovingAverage, trained_parameters

_NAME = re.compile(r"step-(\d{8})\.safetensors")
# what may differ in a training that goes on: nothing that moves a weight or a picture
_MAY_DIFFER = frozenset(
    {"checkpointing_steps", "checkpoints_total_limit", "output_dir", "keep_epoch_weights", "device"}
)
_SCHEMA = 1


class NotFiniteError(ArithmeticError):
    """The training ran away: a loss or a weight is NaN or infinite; its last good checkpoint was kept."""


@dataclass
class State:
    """What changes from step to step."""

    trained: nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None = None
    scaler: Any = None  # of float16
    step: int = field(default=0)

    def save(self, folder: Path, config: Mapping[str, Any], model_hash: str, limit: int) -> Path:
        """Write the state, then delete all but the last `limit`.

        Raises
        ------
        NotFiniteError
            If a weight is NaN or infinite; nothing is written, nothing deleted.
        OSError
            If it cannot be written; those that are there stay.
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
        if self.average is not None:
            tensors |= {f"average/{index:06d}": value for index, value in enumerate(self.average.values)}
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
        # clones: safetensors refuses weights that share memory (tied, or views of one flat buffer)
        save_tensors({name: tensor.clone() for name, tensor in tensors.items()}, facts, path, "a checkpoint")
        for old in checkpoints(folder)[:-limit]:
            with contextlib.suppress(OSError):
                old.unlink()
        return path

    def load(self, path: Path, config: Mapping[str, Any], model_hash: str) -> None:
        """Go back to a saved state.

        Raises
        ------
        ValueError
            If the file is damaged, or belongs to another model or to other settings; nothing has changed then.
        """
        tensors, facts = load_tensors(path)
        _check(path, facts, config, model_hash)
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
        if self.average is not None:
            for place, value in enumerate(self.average.values):
                value.copy_(tensors[f"average/{place:06d}"])
        if self.scaler is not None and facts["scaler"]:
            self.scaler.load_state_dict(facts["scaler"])
        self.step = facts["step"]


def checkpoints(folder: Path) -> list[Path]:
    """The saved states, oldest first."""
    return sorted(path for path in folder.glob("step-*.safetensors") if _NAME.fullmatch(path.name))


def require_same(config: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Compare with the settings that a training began with.

    Raises
    ------
    ValueError
        Naming the first key that must not differ and does.
    """
    for key, value in config.items():
        if key not in _MAY_DIFFER and before.get(key) != value:
            raise ValueError(
                f"{key}: {value!r} is not what this training began with, {before.get(key)!r}; it goes on only with that"
            )


def _check(path: Path, facts: Mapping[str, Any], config: Mapping[str, Any], model_hash: str) -> None:
    if facts.get("schema") != _SCHEMA:
        raise ValueError(f"{path}: has the format {facts.get('schema')}, this version reads {_SCHEMA}")
    if facts["model_hash"] != model_hash:
        raise ValueError(
            f"{path}: belongs to another model: its weights had the hash {facts['model_hash']}, these have {model_hash}"
        )
    require_same(config, facts["config"])
