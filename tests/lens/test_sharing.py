"""Pipelines that share modules, and runs that ask for other runs: an error at once, never a circle of waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens
from difflens_widgets.lens.sharing import worker_of
from pipelines import small_pipeline, wrap

PROMPT = "a red circle"
QUICK: dict[str, Any] = {"layers": [1], "num_inference_steps": 2}
PATIENCE = 60  # seconds


def within_patience(function: Any) -> Any:
    """Call in a thread, so that a hang fails the test in place of stopping all tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(PATIENCE)


def mixed(encoder_of: Any, rest_of: Any) -> Any:
    return wrap(rest_of.unet, rest_of.vae, encoder_of.text_encoder, DDIMScheduler(beta_schedule="scaled_linear"))


def test_a_run_that_asks_a_pipeline_which_came_to_share_its_modules() -> None:
    """Two groups, joined later: the mixed pipeline has the other group's worker, and this run holds its encoder."""
    one, other = small_pipeline(DDIMScheduler), small_pipeline(DDIMScheduler)
    assert worker_of(other) is not worker_of(one)
    joined = mixed(one, other)
    joined.unet, joined.vae = other.unet, other.vae
    for pipe in (joined, mixed(other, one)):
        lens, asked = DiffusionLens(one), DiffusionLens(pipe)
        with pytest.raises(RuntimeError, match=r"called from within a run of the same pipeline"):
            within_patience(lambda lens=lens, asked=asked: lens(PROMPT, on_step=lambda *_: asked.encode("a"), **QUICK))
        assert lens(PROMPT, **QUICK).status == asked(PROMPT, **QUICK).status == "done"


def test_two_runs_that_wait_for_each_other() -> None:
    lenses = [DiffusionLens(small_pipeline(DDIMScheduler)) for _ in range(2)]
    both = threading.Barrier(2)

    def asks(other: DiffusionLens) -> Any:
        first = [True]

        def on_step(*_: Any) -> None:
            if first.pop() if first else False:
                both.wait(PATIENCE)
                other.encode("a")

        return on_step

    jobs = [lens.start(PROMPT, on_step=asks(other), **QUICK) for lens, other in (lenses, lenses[::-1])]
    outcomes = [job.exception(PATIENCE) for job in jobs]
    refused = [error for error in outcomes if error is not None]
    assert len(refused) == 1
    assert isinstance(refused[0], RuntimeError)
    assert "it would wait for" in str(refused[0]) or "which it would wait for" in str(refused[0])


def test_a_run_may_ask_a_pipeline_of_its_own() -> None:
    lens, other = (DiffusionLens(small_pipeline(DDIMScheduler)) for _ in range(2))
    found: list[Any] = []
    lens(PROMPT, on_step=lambda *_: found.append(other.encode("a dog")), **QUICK)
    assert len(found) == 2


def test_a_run_that_waits_for_a_job_behind_it() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    with pytest.raises(RuntimeError, match="called from within a run of the same pipeline"):
        within_patience(lambda: lens(PROMPT, on_step=lambda *_: lens.start("a dog", **QUICK).result(), **QUICK))
    assert lens(PROMPT, **QUICK).status == "done"


def test_one_module_in_two_places() -> None:
    pipe = small_pipeline(DDIMScheduler)
    pipe.register_modules(image_encoder=pipe.text_encoder)
    assert within_patience(lambda: DiffusionLens(pipe)(PROMPT, **QUICK)).status == "done"
