"""Measures drafts against exact images: ``difflens bench lens --draft``."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..analysis.ssim import ssim
from ..models import checks
from ..runs.events import LayerImage
from ..tiny.scenes import training_scene
from .bench_lens import PROMPT, seconds_to_first, timed
from .bench_models import open_lens
from .rows import Row, measured

PROMPTS = 24


def bench_draft(model: str, num_inference_steps: int, repeats: int, device: str | None = None) -> Iterator[Row]:
    """Compare the time of all layers, and the images of the last layer of 24 prompts.

    Draft and exact image take turns, so that a busy machine slows both; each ratio is within one turn. The prompts are
    captions of the embedded model's world, in plain English.

    Raises
    ------
    ValueError, TypeError
        For steps or repeats that cannot work.
    """
    steps = checks.as_int("num_inference_steps", num_inference_steps, at_least=1)
    checks.as_int("repeats", repeats, at_least=1)
    lens = open_lens(model, device)
    last = lens.num_layers - 1
    exact_times: list[float] = []
    draft_times: list[float] = []
    run = lens(PROMPT, num_inference_steps=steps, quality="draft")  # warm up
    taken = run.settings["num_inference_steps"]
    threads = f"{torch.get_num_threads()} threads, {lens.pipe.device}"
    yield Row(f"{lens.model}, {lens.num_layers} layers, exact {steps} steps, draft {taken} steps, {threads}")
    for _ in range(repeats):
        timed(exact_times, lambda: lens(PROMPT, num_inference_steps=steps, cache=False))
        timed(draft_times, lambda: lens(PROMPT, num_inference_steps=steps, quality="draft", cache=False))
    ratios = [exact / draft for exact, draft in zip(exact_times, draft_times, strict=True)]
    yield measured("exact", exact_times)
    yield measured("draft", draft_times)
    yield measured("speed-up", ratios, "×")
    options = {"num_inference_steps": steps, "quality": "draft", "cache": False}
    yield measured("first picture", [seconds_to_first(LayerImage, lens, **options) for _ in range(repeats)])

    prompts = [training_scene(7, 13 * index).caption for index in range(PROMPTS)]
    exact = lens(prompts, layers=[last], num_inference_steps=steps)
    draft = lens(prompts, layers=[last], num_inference_steps=steps, quality="draft")
    found = sorted(ssim(a.images[last], b.images[last]) for a, b in zip(exact, draft, strict=True))
    yield measured(f"SSIM, layer {last}", found, "", digits=3, note=f"least {found[0]:.3f}, {PROMPTS} prompts")
