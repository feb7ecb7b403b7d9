"""What a worker of a sweep does, in this process or on another machine: load the model once, run the lens, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...lens.batch_size import chosen
from ...lens.diffusion_lens import DiffusionLens
from ...models.loading import load_pipeline, loaded_from
from ...models.weight_hash import weight_hash
from ...runs.format import lens_file
from ...runs.job import LensJob
from ...runs.malloc import keep_freed_memory
from ...runs.run import LensRun
from ..judges import PictureJudge


@dataclass(frozen=True)
class Recipe:
    """How a worker gets the lens: here it is the lens itself, elsewhere a function or the arguments that loaded it.

    Attributes
    ----------
    lens : DiffusionLens or None
        Never sent to another process.
    load : callable or None
        A function that returns the lens; the worker has to be able to import it.
    arguments : mapping
        Those of `load_pipeline`, and the lens's own.
    model_hash : str
        The weights that a worker has to have.
    threads : int or None
        Threads of each worker's torch; None: its own default.
    """

    lens: DiffusionLens | None
    load: Callable[[], DiffusionLens] | None
    arguments: Mapping[str, Any]
    model_hash: str
    threads: int | None = None

    def open(self) -> DiffusionLens:
        """The lens; in another process it is loaded once.

        Raises
        ------
        ValueError
            If the weights that are loaded there are others than those of the sweep.
        """
        if self.lens is not None:
            return self.lens
        key = (self.load, repr(self.arguments), self.model_hash)
        if key not in _OPEN:
            keep_freed_memory()
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            lens = self.load() if self.load is not None else _loaded(self.arguments)
            found = weight_hash(lens.pipe)
            if found != self.model_hash:
                raise ValueError(
                    f"lens: a worker loads other weights ({found}) than those here ({self.model_hash}); what was "
                    "changed or added after loading, such as a LoRA, has to be in a function that you give as `lens`"
                )
            _OPEN.clear()  # one model at a time
            _OPEN[key] = lens
        return _OPEN[key]


_OPEN: dict[Any, DiffusionLens] = {}


def recipe_for(lens: DiffusionLens, load: Callable[[], DiffusionLens] | None, *, elsewhere: bool) -> Recipe:
    """The recipe of a lens for workers in this process, or `elsewhere`.

    Raises
    ------
    ValueError
        If another process cannot load this lens.
    """
    model_hash = weight_hash(lens.pipe)
    if not elsewhere:
        return Recipe(lens, None, {}, model_hash)
    own: dict[str, Any] = {"batch_size": chosen(lens), "batch_invariant": lens.batch_invariant}
    own |= {"compiled": lens.compiled, "model": lens.model, "text_encoder": lens.text_encoder}
    origin = loaded_from(lens.pipe)
    if load is None and origin is None:
        raise ValueError(
            "lens: the workers of this executor are other processes, and they cannot load this pipeline, which was "
            "not made by DiffusionLens.from_pretrained; give a function that returns the lens in place of it"
        )
    return Recipe(None, load, {} if origin is None else {"origin": origin, **own}, model_hash)


def _loaded(arguments: Mapping[str, Any]) -> DiffusionLens:
    own = dict(arguments)
    pipe, _ = load_pipeline(**own.pop("origin"))
    return DiffusionLens(pipe, **own)


@dataclass(frozen=True)
class Painted:
    """The result of one unit, as it travels: the bytes of the ``.lens`` file, verdicts by layer, and seconds."""

    content: bytes
    verdicts: dict[int, bool]
    seconds: float


def paint(recipe: Recipe, prompt: str, options: Mapping[str, Any], judge: PictureJudge | None) -> Painted:
    """Run the lens on one prompt.

    Raises
    ------
    RuntimeError
        If no layer has a picture, or the run was stopped.
    """
    began = time.monotonic()
    run = finished(recipe.open()._jobs(prompt, **options)[0])
    verdicts = verdicts_of(run, judge)
    return Painted(lens_file.to_bytes(run), verdicts, time.monotonic() - began)


def finished(job: LensJob) -> LensRun:
    """The run of a job, when it is done.

    Raises
    ------
    RuntimeError
        If it failed, or was stopped.
    """
    run = job.wait()
    if run.status != "done":
        raise RuntimeError(run.message or run.status)
    return run


def verdicts_of(run: LensRun, judge: PictureJudge | None) -> dict[int, bool]:
    """What the judge says of each picture, by layer; a layer without a picture is not right."""
    if judge is None:
        return {}
    painted = sorted(run.images.keys() - run.flagged)  # not what the safety checker blacked out
    accepted = list(judge.judge([run.images[layer] for layer in painted], run.prompt))
    if len(accepted) != len(painted):
        raise ValueError(f"judge: answered {len(accepted)} times for {len(painted)} pictures")
    return {**dict.fromkeys(run.layers, False), **dict(zip(painted, map(bool, accepted), strict=True))}
