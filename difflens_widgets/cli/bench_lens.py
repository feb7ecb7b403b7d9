"""Measures the speed of the lens: ``difflens bench lens``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from ..lens.compiled import wait_until_compiled
from ..lens.diffusion_lens import DiffusionLens
from ..lens.settings import RunOptions
from ..runs import worker
from ..runs.events import Done, Event, Preview
from .bench_models import open_lens
from .rows import Row, measured

PROMPT = "a red circle and a blue square on a white background"


def bench_lens(
    model: str,
    steps: int,
    repeats: int,
    batch_sizes: Sequence[int] = (),
    device: str | None = None,
    *,
    compiled: bool = False,
) -> Iterator[Row]:
    """Compare the lens with a plain loop that calls the stock pipeline once per layer.

    All take turns, `repeats` times, so that a busy machine slows them equally. The loop gets the layers' states without
    their cost; it only denoises, batch 2 (guidance).

    Parameters
    ----------
    model, device
        As for `DiffusionLens.from_pretrained`.
    steps, repeats : int
        Denoising steps, and turns, ≥ 1.
    batch_sizes : sequence of int
        Also measure with these.
    compiled : bool
        Also measure with the compiled denoiser, and what compiling takes.
    """
    lens = open_lens(model, device)
    options: RunOptions = {"num_inference_steps": steps, "guidance_scale": 7.5, "seed": 0, "cache": False}
    threads = f"{torch.get_num_threads()} threads, {lens.pipe.device}"
    yield Row(f"{lens.model}, {lens.num_layers} layers, {steps} steps, {threads}")

    plain_loop(lens, steps=2)  # warm up
    alone: RunOptions = {**options, "layers": lens.layers[-1:]}
    ways: dict[str, Callable[[], dict[int, Image.Image]]] = {
        "plain loop": lambda: plain_loop(lens, steps),
        (ours := f"lens, batch size {lens.batch_size}"): lambda: lens(PROMPT, **options).images,
        "one layer": lambda: lens(PROMPT, **alone).images,
    }
    if compiled:
        quick = DiffusionLens(lens.pipe, model=lens.model, compiled=True)
        yield _compile(quick, options)
        ways["compiled"] = lambda: quick(PROMPT, **options).images
        ways["compiled, one layer"] = lambda: quick(PROMPT, **alone).images
    times: dict[str, list[float]] = {name: [] for name in ways}
    images: dict[str, dict[int, Image.Image]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            images[name] = timed(times[name], way)
    for name, seconds in times.items():
        yield measured(name, seconds, width=22)

    def ratio(name: str, some: str, others: str) -> Row:
        return measured(name, [a / b for a, b in zip(times[some], times[others], strict=True)], "×", width=22)

    yield ratio("speed-up", "plain loop", ours)
    yield ratio("one layer of all", "one layer", ours)
    if compiled:
        yield ratio("speed-up, compiled", "plain loop", "compiled")
    for name in list(ways)[1:]:
        apart = largest_difference(images[name], images["plain loop"])
        what = f"largest pixel difference, {name}"
        yield Row(f"{what}: {apart} of 255", what, "of 255", [apart])
    again: list[float] = []
    cached: RunOptions = {**options, "cache": True}
    for _ in range(repeats + 1):  # the first one fills the cache
        timed(again, lambda: lens(PROMPT, **cached))
    quicker = median(times[ours]) / median(again[1:])
    note = f"{quicker:.0f} × as fast, from the cache"
    yield replace(measured("the same again", again[1:], digits=3, note=note), figures={"speed_up": quicker})
    ratios = [in_background(lens, **options) for _ in range(repeats)]
    yield measured("background", ratios, "×", note="as long, if the waiting thread keeps its OpenMP threads")
    previews = [seconds_to_first(Preview, lens, **options) for _ in range(repeats)]
    yield measured("first preview", previews)

    for batch_size in batch_sizes:
        lens.batch_size = batch_size
        spent: list[float] = []
        for _ in range(repeats):
            timed(spent, lambda: lens(PROMPT, **options))
        yield measured(f"batch size {batch_size}", spent)


def _compile(lens: DiffusionLens, options: RunOptions) -> Row:
    """Have the denoiser compiled for all layers and for one; the row says how long it took."""
    spent: list[float] = []
    for layers in (lens.layers, lens.layers[-1:]):
        few: RunOptions = {**options, "layers": layers, "num_inference_steps": 1}
        lens(PROMPT, **few)
        timed(spent, wait_until_compiled)
        if not lens(PROMPT, **few).settings["compiled"]:
            raise ValueError("--compiled: the denoiser of this model was not compiled; the log says why")
    return measured("compiling", [sum(spent)], digits=0, width=22, note="for all layers, and for one")


def largest_difference(some: dict[int, Image.Image], others: dict[int, Image.Image]) -> int:
    """The largest difference of a pixel, over all layers, 0..255."""
    return max(int(np.abs(np.asarray(image, int) - np.asarray(others[k], int)).max()) for k, image in some.items())


def plain_loop(lens: DiffusionLens, steps: int) -> dict[int, Image.Image]:
    """The same images without the lens: calls the stock pipeline for one layer after another."""
    states = lens.encode(PROMPT).normed_states
    width = states.shape[-1]  # SDXL: concatenated with the other encoder's
    own = slice(-width, None) if lens.text_encoder == "text_encoder_2" else slice(width)
    with torch.inference_mode():
        stock = lens.pipe.encode_prompt(
            PROMPT, device=lens.pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=True
        )
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    lens.pipe.set_progress_bar_config(disable=True)

    def paint(layer: int) -> Image.Image:
        conditions = dict(zip(names, stock, strict=False))
        embeds = conditions["prompt_embeds"].clone()
        embeds[..., own] = states[layer]
        generator = torch.Generator().manual_seed(0)
        conditions |= {"prompt_embeds": embeds, "num_inference_steps": steps, "generator": generator}
        return lens.pipe(**conditions, guidance_scale=7.5).images[0]

    return {layer: paint(layer) for layer in lens.layers}


def in_background(lens: DiffusionLens, **options: Any) -> float:
    """How many times as long a job takes if the waiting thread keeps its OpenMP threads, see `runs.openmp`."""
    times: dict[str, list[float]] = {"released": [], "kept": []}
    for name, spent in times.items():
        lens(PROMPT, **{**options, "num_inference_steps": 1})  # gives this thread OpenMP threads
        with mock.patch.object(worker, "release_threads") if name == "kept" else nullcontext():
            timed(spent, lambda: lens.start(PROMPT, **options).result())
    return times["kept"][0] / times["released"][0]


def seconds_to_first(kind: type[Event], lens: DiffusionLens, **options: Any) -> float:
    """Seconds from `start` to the first event of a kind."""
    seen = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, (kind, Done)):  # one that fails has none
            seen.set()

    began = time.perf_counter()
    job = lens.start(PROMPT, **options)
    job.subscribe(listen)
    seen.wait()
    seconds = time.perf_counter() - began
    job.cancel()
    job.result()
    return seconds


def timed(times: list[float], work: Callable[[], Any]) -> Any:
    """Call `work`, append the seconds it took to `times`, and return its result."""
    began = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - began)
    return result
