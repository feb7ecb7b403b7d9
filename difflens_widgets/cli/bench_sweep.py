"""Measures a sweep on the processes of a Dask cluster against one in this process: ``difflens bench sweep``."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from ..analysis.sweep.result import INSTALL, Sweep
from ..analysis.sweep.run import sweep
from ..models import checks
from ..tiny.scenes import training_scene
from .bench_lens import largest_difference, timed
from .bench_models import open_lens, require_files
from .rows import Row, measured


def bench_sweep(
    model: str, steps: int, device: str | None = None, *, units: int = 200, workers: int = 2
) -> Iterator[Row]:
    """Compare one sweep in this process and on a LocalCluster; all layers of each unit, from the same noise.

    The workers have one thread each, this process all of torch's. What the cluster and the model in each worker need to
    start is measured by itself.

    Parameters
    ----------
    model, device
        As for `DiffusionLens.from_pretrained`.
    steps : int
        Denoising steps, ≥ 1.
    units : int
        How many different prompts, ≥ 1.
    workers : int
        Processes, ≥ 1.

    Raises
    ------
    ValueError
        For arguments that cannot work, or if Dask is not installed.
    OSError
        If the model cannot be loaded.
    """
    steps = checks.as_int("steps", steps, at_least=1)
    units, workers = (
        checks.as_int(f"--{name}", value, at_least=1) for name, value in (("units", units), ("workers", workers))
    )
    require_files(model)
    try:
        import distributed
    except ImportError:
        raise ValueError(f"this measurement runs a sweep on Dask: {INSTALL}") from None
    return _measure(distributed, model, steps, device, units, workers)


def _measure(distributed: Any, model: str, steps: int, device: str | None, units: int, workers: int) -> Iterator[Row]:
    lens = open_lens(model, device)
    prompts, first = _captions(units), _captions(units + workers)[units:]
    threads = f"{torch.get_num_threads()} threads here, {workers} processes with one each, {lens.pipe.device}"
    yield Row(f"{lens.model}, {units} units of {lens.num_layers} layers, {steps} steps, {threads}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="difflens-bench-")))

        def run(name: str, texts: list[str], executor: Any = None) -> Sweep:
            done = sweep(lens, texts, out=folder / name, executor=executor, num_inference_steps=steps, cache=False)
            if done.failures:
                raise OSError(f"{name}: {len(done.failures)} units failed: {next(iter(done.failures.values()))}")
            return done

        lens(first[0], num_inference_steps=1, cache=False)  # warm up
        here: list[float] = []
        ours = timed(here, lambda: run("here", prompts))
        yield measured("in this process", here)

        started: list[float] = []
        options: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        options |= {"local_directory": str(folder)}
        logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells the end of each connection
        cluster = timed(started, lambda: stack.enter_context(distributed.LocalCluster(**options)))
        client = stack.enter_context(distributed.Client(cluster))
        loaded: list[float] = []
        timed(loaded, lambda: run("first", first, client.get_executor()))
        note = f"the cluster {started[0]:.1f} s, the model in each worker and its first unit {loaded[0]:.1f} s"
        yield measured("start of Dask", [started[0] + loaded[0]], note=note)
        there: list[float] = []
        theirs = timed(there, lambda: run("there", prompts, client.get_executor()))
        yield measured("on Dask", there)
        yield measured("speed-up", [here[0] / there[0]], "×", note="the time in this process / that on Dask")
        apart = max(largest_difference(ours.run(text, 0).images, theirs.run(text, 0).images) for text in prompts[:8])
        name = "largest pixel difference"
        yield Row(f"{name} {apart} of 255", name, "of 255", [apart])


def _captions(number: int) -> list[str]:
    """Different captions of the embedded model's world."""
    texts = (training_scene(7, index).caption for index in count())
    seen: dict[str, None] = {}
    for text in islice(texts, 100 * number):
        seen[text] = None
        if len(seen) == number:
            break
    return list(seen)
