"""Emergence over many prompts and seeds, painted by the lens; a stopped experiment can be continued.

Each picture is painted once, however many tasks judge it. Pictures are not kept, only verdicts; where they are wanted,
there is `sweep`, whose workers do this too. Cost: prompts × seeds runs of the lens.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models import checks
from ..models.weight_hash import has_weights_of, weight_hash
from ..runs.format.atomic_write import require_writable
from .emergence import emergence
from .judges import PictureJudge
from .sweep.runner import Runner, opened
from .sweep.units import Unit, unit_of
from .sweep.worker import Recipe, finished
from .table import EmergenceTable, read_verdicts, verdicts_in, write_verdicts

if TYPE_CHECKING:
    import torch

    from ..lens.batch import StepListener
    from ..lens.diffusion_lens import DiffusionLens
    from ..lens.edits import Slots
    from ..lens.quality import Quality

log = logging.getLogger(__name__)
_Key = tuple[str, str, int]  # task, prompt, seed


@dataclass(frozen=True)
class EmergenceTask:
    """Prompts of one kind, and the judge of their pictures. Several tasks may share prompts."""

    name: str
    prompts: Sequence[str]
    judge: PictureJudge


def emergence_table(
    lens: DiffusionLens | Callable[[], DiffusionLens],
    tasks: Iterable[EmergenceTask],
    *,
    seeds: Iterable[int] = range(3),
    layers: Iterable[int] | None = None,
    path: str | Path | None = None,
    negative_prompt: str | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    true_cfg_scale: float | None = None,
    guidance_rescale: float = 0.0,
    eta: float = 0.0,
    cross_attention_kwargs: Mapping[str, Any] | None = None,
    negative_prompt_embeds: torch.Tensor | None = None,
    height: int | None = None,
    width: int | None = None,
    latents: torch.Tensor | None = None,
    quality: Quality = "exact",
    on_step: StepListener | None = None,
    slots: Slots = "cut",
    cache: bool = True,
    executor: Executor | Callable[[], Executor] | None = None,
    retries: int = 1,
) -> EmergenceTable:
    """Paint every prompt of every task from every seed, and judge all layers.

    Parameters
    ----------
    lens : DiffusionLens or callable
        Or a function that returns one, as in `sweep`.
    tasks : iterable of EmergenceTask
        Each with a name of its own and different prompts.
    seeds : iterable of int
    layers : iterable of int, optional
        Default: all. The last layer must be among them. With some layers only, a run emerges at the first of *these*
        from which all are right.
    path : str or Path, optional
        A JSON file for the verdicts, written after every run. If it exists, the experiment continues with it; there
        may be more prompts, seeds or tasks than before.
    negative_prompt, num_inference_steps, guidance_scale, true_cfg_scale, guidance_rescale, eta, \
cross_attention_kwargs, negative_prompt_embeds, height, width, latents, quality, on_step, slots, cache
        As in `DiffusionLens.start`; on_step only without an executor of other processes.
    executor, retries
        As in `sweep`.

    Raises
    ------
    ValueError, TypeError
        For arguments that cannot work, a lens that the workers cannot load, prompts that a judge cannot judge, or a
        file of a different experiment (other model, settings, layers or judge; or with runs that are not requested
        now). Before anything is painted.
    RuntimeError
        If a run has no picture at all, also when tried again. A single layer that failed counts as not right, with a
        warning in the log.
    """
    options: dict[str, Any] = {
        "negative_prompt": negative_prompt,
        "num_inference_steps": num_inference_steps,
        "guidance_scale": guidance_scale,
        "true_cfg_scale": true_cfg_scale,
        "guidance_rescale": guidance_rescale,
        "eta": eta,
        "cross_attention_kwargs": cross_attention_kwargs,
        "negative_prompt_embeds": negative_prompt_embeds,
        "height": height,
        "width": width,
        "latents": latents,
        "quality": quality,
        "on_step": on_step,
        "slots": slots,
        "cache": cache,
    }
    lens, load = opened(lens)
    tasks = _checked(tasks)
    numbers = _checked_seeds(seeds)
    chosen = tuple(sorted(checks.layers(layers, lens.num_layers)))
    if chosen[-1] != lens.num_layers - 1:
        raise ValueError(
            f"layers: the last, {lens.num_layers - 1}, must be among them: a run emerges where all is right up to it"
        )
    texts = list(dict.fromkeys(prompt for task in tasks for prompt in task.prompts))
    settings = dict(lens._jobs(texts, layers=chosen, seed=numbers[0], **options)[0].run.settings)
    settings["model_hash"] = weight_hash(lens.pipe)
    prompts = {task.name: tuple(task.prompts) for task in tasks}
    judges = {task.name: getattr(task.judge, "description", type(task.judge).__qualname__) for task in tasks}
    for task in tasks:
        for prompt in task.prompts:
            task.judge.judge([], prompt)
    requested = [(task.name, prompt, seed) for task in tasks for prompt in task.prompts for seed in numbers]
    verdicts: dict[_Key, np.ndarray] = {}
    if path is not None:
        require_writable(Path(path), "the table of emergence")
    if path is not None and Path(path).exists():
        verdicts = _continued(Path(path), lens.pipe, settings, chosen, judges, requested)

    todo = [unit_of(prompt, seed, {}) for prompt in texts for seed in numbers if _open(tasks, prompt, seed, verdicts)]
    with Runner(lens, load, executor) as runner:
        if runner.elsewhere and on_step is not None:
            raise TypeError("on_step: is not called from the other processes of an executor; leave out one of the two")

        def work(unit: Unit) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            wanted = {task.name: task.judge for task in _open(tasks, unit.prompt, unit.seed, verdicts)}
            return _judged, (runner.recipe, unit.prompt, {**options, "layers": chosen, "seed": unit.seed}, wanted)

        for unit, found, error in runner.run(todo, work, name="emergence", retries=retries):
            prompt, seed = unit.prompt, unit.seed
            if error is not None:
                raise RuntimeError(f"no pictures of {prompt!r} from seed {seed}: {error}") from error
            judged, failures = found
            for layer, reason in failures.items():
                log.warning("layer %d of %r from seed %d counts as not right: %s", layer, prompt, seed, reason)
            for name, marks in judged.items():
                verdicts[name, prompt, seed] = np.array(marks)
            if path is not None:
                write_verdicts(Path(path), chosen, numbers, prompts, judges, settings, verdicts)
    return EmergenceTable.of(chosen, numbers, prompts, judges, settings, verdicts, "the experiment")


def _judged(
    recipe: Recipe, prompt: str, options: Mapping[str, Any], judges: Mapping[str, PictureJudge]
) -> tuple[dict[str, list[bool]], dict[int, str]]:
    """In a worker: each judge's verdicts by layer, and why layers failed."""
    run = finished(recipe.open()._jobs(prompt, **options)[0])
    return {name: [*emergence(run, judge).verdicts.values()] for name, judge in judges.items()}, run.failures


def _open(
    tasks: Sequence[EmergenceTask], prompt: str, seed: int, verdicts: dict[_Key, np.ndarray]
) -> list[EmergenceTask]:
    """The tasks that have this prompt and no verdict on it yet."""
    return [task for task in tasks if prompt in task.prompts and (task.name, prompt, seed) not in verdicts]


def _checked(tasks: Iterable[EmergenceTask]) -> list[EmergenceTask]:
    found = list(tasks)
    if not found:
        raise ValueError("tasks: empty; give at least one EmergenceTask")
    names = [task.name for task in found]
    for task in found:
        if names.count(task.name) > 1:
            raise ValueError(f"tasks: {task.name!r} is the name of {names.count(task.name)} tasks")
        if isinstance(task.prompts, str) or not task.prompts:
            raise ValueError(f"tasks: {task.name!r} needs a list of prompts, got {task.prompts!r}")
        if len(set(task.prompts)) < len(task.prompts):
            raise ValueError(f"tasks: {task.name!r} has a prompt twice; a second picture of it needs another seed")
    return found


def _checked_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, int):
        raise TypeError(f"seeds: expected several, such as range({seeds}), got the number {seeds}")
    numbers = tuple(checks.as_int("seeds", seed, at_least=0) for seed in seeds)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds: expected different ones, at least one, got {list(numbers)}")
    return numbers


def _continued(
    path: Path,
    pipe: Any,
    settings: dict[str, Any],
    layers: tuple[int, ...],
    judges: dict[str, str],
    requested: list[_Key],
) -> dict[_Key, np.ndarray]:
    """The verdicts of an earlier call, if it was the same experiment."""
    content = read_verdicts(path)
    now = {**_comparable(settings), "layers": list(layers)}
    then = {**_comparable(content["settings"]), "layers": content["layers"]}
    if "scheduler_config" not in then:  # version 0.1 did not keep it, and had another kind of hash
        now.pop("scheduler_config", None)
        then["model_hash"] = now["model_hash"] if has_weights_of(pipe, then["model_hash"]) else then["model_hash"]
    for name, task in content["tasks"].items():
        now[f"judge of {name!r}"] = judges.get(name, task["judge"])
        then[f"judge of {name!r}"] = task["judge"]
    other = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if other:
        differences = "; ".join(f"{name}: {then.get(name)!r} there, {now.get(name)!r} now" for name in other)
        raise ValueError(f"{path}: is of a different experiment ({differences}); give another file")
    verdicts = verdicts_in(content)
    surplus = len(verdicts.keys() - set(requested))
    if surplus:
        raise ValueError(
            f"{path}: has {surplus} verdicts that are not requested now (tasks, prompts, seeds); give another file"
        )
    return verdicts


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that change pictures by more than rounding; versions of libraries are recorded, and not compared."""
    left_out = ("versions", "batch_size", "batch_invariant", "compiled")
    return {"quality": "exact", **{name: value for name, value in settings.items() if name not in left_out}}
