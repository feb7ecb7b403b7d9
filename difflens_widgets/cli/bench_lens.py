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

from ..lens.diffusion_lens import DiffusionLens
from ..lens.settings import RunOptions
from ..runs import worker
from ..runs.events import Done, Event, Preview
from .bench_models import open_lens
from .rows import Row, measured

PROMPT = "a red circle and a blue square on a white background"


def bench_lens(
    model: str, steps: int, repeats: int, batch_sizes: Sequence[int] = (), device: str | None = None
) -> Iterator[Row]:
    """Compare the lens with a plain loop that calls the stock pipeline once per layer.

    The two take turns, `repeats` times, so that a busy machine slows both equally. The loop gets the layers' states
    without their cost; it only denoises, batch 2 (guidance).
    """
    lens = open_lens(model, device)
    options: RunOptions = {"num_inference_steps": steps, "guidance_scale": 7.5, "seed": 0, "cache": False}
    threads = f"{torch.get_num_threads()} threads, {lens.pipe.device}"
    yield Row(f"{lens.model}, {lens.num_layers} layers, {steps} steps, {threads}")

    plain_loop(lens, steps=2)  # warm up
    times: dict[str, list[float]] = {"plain loop": [], f"lens, batch size {lens.batch_size}": []}
    ours, plain = f"lens, batch size {lens.batch_size}", "plain loop"
    images: dict[str, dict[int, Image.Image]] = {}
    for _ in range(repeats):
        images[plain] = timed(times[plain], lambda: plain_loop(lens, steps))
        images[ours] = timed(times[ours], lambda: lens(PROMPT, **options).images)
    ratios = [slow / quick for slow, quick in zip(times[plain], times[ours], strict=True)]
    for name, seconds in times.items():
        yield measured(name, seconds)
    yield measured("speed-up", ratios, "×")
    apart = largest_difference(images[ours], images[plain])
    yield Row(f"largest pixel difference {apart} of 255", "largest pixel difference", "of 255", [apart])
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
