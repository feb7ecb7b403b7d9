"""The stress test of threads: 200 rounds in which the user does with his pipeline what he likes while a job paints."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, PNDMScheduler

from difflens_widgets import DiffusionLens
from pipelines import small_pipeline, wrap

PROMPT = "a red circle on a blue background"
ROUNDS = 200
QUICK: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 4.0, "seed": 3, "layers": [0, 3]}
KINDS = (DDIMScheduler, PNDMScheduler, EulerAncestralDiscreteScheduler)


def scheduler_of(kind: Any) -> Any:
    more = {"skip_prk_steps": True} if kind is PNDMScheduler else {}
    return kind(beta_schedule="scaled_linear", **more)


def stock(pipe: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(5)
    return pipe("a star", num_inference_steps=2, generator=generator, output_type="latent").images.numpy()


def embeds(pipe: Any) -> np.ndarray:
    return pipe.encode_prompt("two stars", "cpu", 1, True)[0].numpy()


@pytest.mark.slow
def test_two_hundred_rounds_of_everything_at_once() -> None:
    """A lens job, the same for a pipeline that shares modules, `pipe(...)`, `encode_prompt`, `lens.encode`, and another
    scheduler: each result is the single-threaded one, to the byte."""
    pipe = small_pipeline(DDIMScheduler)
    sharing = wrap(pipe.unet, pipe.vae, pipe.text_encoder, scheduler_of(PNDMScheduler))
    for each in (pipe, sharing):
        each.set_progress_bar_config(disable=True)
    lens, other = DiffusionLens(pipe, batch_size=2), DiffusionLens(sharing, batch_size=2)
    with torch.no_grad():
        expected: dict[Any, Any] = {"other": other(PROMPT, **QUICK).latents, "embeds": embeds(pipe)}
        expected["states"] = lens.encode("a dog").states.numpy()
        for kind in KINDS:
            pipe.scheduler = scheduler_of(kind)
            expected[kind] = lens(PROMPT, **QUICK).latents
            expected["stock", kind] = stock(pipe)
    wrong: list[str] = []

    def compare(what: str, found: Any, wanted: Any) -> None:
        pairs = [(found[k], wanted[k]) for k in wanted] if isinstance(wanted, dict) else [(found, wanted)]
        if not all(np.array_equal(one, two) for one, two in pairs):
            wrong.append(what)

    for number in range(ROUNDS):
        kind = KINDS[number % len(KINDS)]
        pipe.scheduler = scheduler_of(kind)
        begun = threading.Event()
        job = lens.start(PROMPT, on_step=lambda *_, begun=begun: begun.set(), **QUICK)
        second = other.start(PROMPT, **QUICK)
        assert begun.wait(60)  # it has its own scheduler now
        with torch.no_grad():
            compare("stock", stock(pipe), expected["stock", kind])
            pipe.scheduler = scheduler_of(KINDS[(number + 1) % len(KINDS)])
            compare("embeds", embeds(pipe), expected["embeds"])
        compare("states", lens.encode("a dog").states.numpy(), expected["states"])
        compare("job", job.result(60).latents, expected[kind])
        compare("sharing", second.result(60).latents, expected["other"])
    assert not wrong, f"{len(wrong)} of {5 * ROUNDS} results: {sorted(set(wrong))}"
