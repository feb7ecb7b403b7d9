"""One training loop for all stages: checkpoints, exact resume, moving average of the weights, seeds by step.

A step's batch and noise depend on nothing but (seed, step), so a run that was killed and resumed follows the same
loss curve as one that was not. Checkpoints are single safetensors files, written aside and renamed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from .cores import run_parallel
from .muon import Muon

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageConfig:
    """How one stage is trained."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 100
    decay: int | None = None
    """The last so many steps decay linearly to zero, after a constant rate: more steps can be added at any time. None:
    cosine decay after the warm-up."""
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    checkpoint_seconds: float = 120.0
    seed: int = 0
    rates: tuple[tuple[str, float], ...] = ()
    """(prefix of parameter names, factor): these learn that much faster or slower."""
    muon: tuple[str, ...] = ()
    """Prefixes of parameter names: their matrices and convolutions learn by Muon, all else by AdamW."""


Loss = Tensor | Sequence[Callable[[], Tensor]]
"""Of one step: a scalar, or what gives the scalars of equal parts of the batch, each in a thread of its own."""
LossOfStep = Callable[[int, torch.Generator], Loss]
Model = TypeVar("Model", bound=nn.Module)


def fit(model: Model, loss_of_step: LossOfStep, config: StageConfig, folder: Path, name: str) -> Model:
    """Train `model` and return its moving average; go on from `folder/name.safetensors` where that exists.

    Parameters
    ----------
    model : nn.Module
        Trained in place, in float32.
    loss_of_step : callable
        (step, CPU generator seeded for this step) → scalar loss, or what gives that of each part of the batch; runs
        under bfloat16 autocast where the device has it.
    config : StageConfig
        Warm-up, then decay to zero at `config.steps`.
    folder : Path
        Gets `name.safetensors` (checkpoint) and `name.jsonl` (loss by step).
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    autocast = partial(autocast_of, device)
    optimizers = _optimizers(model, config)
    average = deepcopy(model).requires_grad_(False)
    checkpoint, curve = folder / f"{name}.safetensors", folder / f"{name}.jsonl"
    step = _load(checkpoint, model, average, optimizers) if checkpoint.exists() else 0
    _truncate(curve, step)
    saved_at, losses = time.monotonic(), []
    model.train()
    with tqdm(total=config.steps, initial=step, desc=name, mininterval=10, leave=False) as bar:
        while step < config.steps:
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * group["rate"] * _schedule(step, config)
            generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
            with autocast():
                terms = loss_of_step(step, generator)
            loss = _backward(terms, model, autocast)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad(set_to_none=True)
            step += 1
            _update_average(average, model, min(config.ema_decay, (1 + step) / (10 + step)))
            losses.append(loss)
            bar.update()
            if step % 50 == 0 or step == config.steps:
                mean = sum(losses) / len(losses)
                with curve.open("a") as file:
                    file.write(json.dumps({"step": step, "loss": round(mean, 6)}) + "\n")
                bar.set_postfix(loss=f"{mean:.4f}")
                losses.clear()
                # only here, where no loss is pending: the resumed curve has the same means
                if time.monotonic() - saved_at > config.checkpoint_seconds or step == config.steps:
                    _save(checkpoint, step, model, average, optimizers)
                    saved_at = time.monotonic()
    return average.eval()


def _optimizers(model: nn.Module, config: StageConfig) -> list[torch.optim.Optimizer]:
    """AdamW and Muon over what learns, each where there is something for it; the groups keep their own `rate`."""
    by_adam: dict[float, list[nn.Parameter]] = {}
    by_muon: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = next((factor for prefix, factor in config.rates if name.startswith(prefix)), 1.0)
            groups = by_muon if parameter.ndim > 1 and name.startswith(config.muon) else by_adam
            groups.setdefault(rate, []).append(parameter)
    lr, weight_decay = config.learning_rate, config.weight_decay
    optimizers: list[torch.optim.Optimizer] = []
    if by_adam:
        told = _with_rates(by_adam)
        optimizers.append(torch.optim.AdamW(told, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True))
    if by_muon:
        optimizers.append(Muon(_with_rates(by_muon), lr=lr, weight_decay=weight_decay))
    return optimizers


def _with_rates(groups: dict[float, list[nn.Parameter]]) -> list[dict[str, Any]]:
    return [{"params": parameters, "rate": rate} for rate, parameters in groups.items()]


def _backward(
    loss: Loss, model: nn.Module, autocast: Callable[[], AbstractContextManager[None]] = nullcontext
) -> float:
    """Put the gradients into `model`; returns the loss. Parts are computed under `autocast`, which is thread-local.

    Parts go side by side: on two CPU cores, a step of the U-Net took 2.0 s as two halves in a thread each, and 2.4 s
    where two threads shared every operation (measured by hand, medians of one run).
    """
    if isinstance(loss, Tensor):
        loss.backward()
        return float(loss.detach())
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients(part: Callable[[], Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        with autocast():
            value = part() / len(loss)
        return float(value.detach()), torch.autograd.grad(value, parameters)

    results = run_parallel([partial(gradients, part) for part in loss])
    for parameter, *of_parts in zip(parameters, *(gradient for _, gradient in results), strict=True):
        # in the parameter's own memory layout, as backward() does: AdamW's fused step reads both as they lie in memory
        parameter.grad = torch.empty_like(parameter).copy_(sum(of_parts[1:], of_parts[0]))
    return sum(value for value, _ in results)


def autocast_of(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 where `device` has it; for the thread that enters it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_computes_in_bfloat16(device))


def _computes_in_bfloat16(device: torch.device) -> bool:
    """False for a CPU that only imitates it: there a step of the U-Net takes 2.4 times as long as in float32."""
    if device.type != "cpu":
        return True
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _schedule(step: int, config: StageConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.decay is not None:
        return min(1.0, (config.steps - step) / max(1, config.decay))
    return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        ours.copy_(theirs)


def _save(
    path: Path, step: int, model: nn.Module, average: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    tensors = {f"model/{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average/{key}": value for key, value in average.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{number}/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    aside = path.with_suffix(".part")
    save_file(tensors, aside, metadata={"step": str(step)})
    os.replace(aside, path)
    log.info("%s: checkpoint at step %d", path.stem, step)


def _load(path: Path, model: nn.Module, average: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part, _, rest = key.partition("/")
            parts[part][rest] = file.get_tensor(key)
    model.load_state_dict(parts["model"])
    average.load_state_dict(parts["average"])
    if len(optimizers) != sum(part.isdigit() for part in parts):
        raise ValueError(f"{path}: was written by other optimizers than this config's; delete it to begin anew")
    for number, optimizer in enumerate(optimizers):
        state: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, value in parts[str(number)].items():
            index, _, slot = key.partition("/")
            state[int(index)][slot] = value
        optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
    log.info("%s: resumed at step %d", path.stem, step)
    return step


def _truncate(curve: Path, step: int) -> None:
    """Forget what a killed run wrote after its last checkpoint."""
    if curve.exists():
        lines = [line for line in curve.read_text().splitlines() if json.loads(line)["step"] <= step]
        curve.write_text("".join(line + "\n" for line in lines))
