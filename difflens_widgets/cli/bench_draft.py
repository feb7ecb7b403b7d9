"""Measures drafts against exact images: ``difflens bench lens --draft``."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import torch

from ..analysis.ssim import ssim
from ..lens.diffusion_lens import DiffusionLens
from ..models import checks
from ..tiny.scenes import training_scene
from .bench_lens import PROMPT, timed

PROMPTS = 24


def bench_draft(model: str, num_inference_steps: int, repeats: int) -> Iterator[str]:
    """Compare the time of all layers, and the images of the last layer of 24 prompts; yields lines to print.

    Draft and exact image take turns, so that a busy machine slows both; each ratio is within one turn. The prompts are
    captions of the embedded model's world, in plain English.

    Raises
    ------
    ValueError, TypeError
        For steps or repeats that cannot work.
    """
    steps = checks.as_int("num_inference_steps", num_inference_steps, at_least=1)
    checks.as_int("repeats", repeats, at_least=1)
    lens = DiffusionLens.from_pretrained(model)
    last = lens.num_layers - 1
    exact_times: list[float] = []
    draft_times: list[float] = []
    run = lens(PROMPT, num_inference_steps=steps, quality="draft")  # warm up
    taken = run.settings["num_inference_steps"]
    threads = f"{torch.get_num_threads()} threads, {lens.pipe.device}"
    yield f"{lens.model}, {lens.num_layers} layers, exact {steps} steps, draft {taken} steps, {threads}"
    for _ in range(repeats):
        timed(exact_times, lambda: lens(PROMPT, num_inference_steps=steps))
        timed(draft_times, lambda: lens(PROMPT, num_inference_steps=steps, quality="draft"))
    ratios = [exact / draft for exact, draft in zip(exact_times, draft_times, strict=True)]
    yield f"exact            median {median(exact_times):7.2f} s   (least {min(exact_times):.2f})"
    yield f"draft            median {median(draft_times):7.2f} s   (least {min(draft_times):.2f})"
    yield f"speed-up         median {median(ratios):7.2f} ×   (least {min(ratios):.2f}, most {max(ratios):.2f})"

    prompts = [training_scene(7, 13 * index).caption for index in range(PROMPTS)]
    exact = lens(prompts, layers=[last], num_inference_steps=steps)
    draft = lens(prompts, layers=[last], num_inference_steps=steps, quality="draft")
    found = sorted(ssim(a.images[last], b.images[last]) for a, b in zip(exact, draft, strict=True))
    yield f"SSIM, layer {last:<4} median {median(found):7.3f}     (least {found[0]:.3f}, {PROMPTS} prompts)"
