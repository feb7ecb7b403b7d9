"""A run works on a view of the pipeline: each text is encoded once, and the user's pipeline stays his."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from difflens_widgets import DiffusionLens
from difflens_widgets.lens.settings import DEFAULTS
from difflens_widgets.lens.sharing import worker_of
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle on a blue background"
QUICK: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "seed": 3}


@pytest.fixture
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


def counted(module: torch.nn.Module) -> list[int]:
    """Rows of each forward of a module, from now on."""
    rows: list[int] = []
    module.register_forward_pre_hook(lambda _, args, kwargs: rows.append(len(args[0])), with_kwargs=True)
    return rows


def hooks_of(pipe: Any) -> list[tuple[int, int]]:
    parts = (pipe.text_encoder, pipe.unet, pipe.vae)
    return [(len(each._forward_hooks), len(each._forward_pre_hooks)) for part in parts for each in part.modules()]


# each text once


@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("layers", [[4], [0, 1, 2, 3, 4]])
def test_prompt_and_negative_prompt_are_encoded_once(batch_size, layers) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=batch_size)
    rows = counted(lens.pipe.text_encoder)
    lens(PROMPT, layers=layers, negative_prompt="a star", **QUICK)
    assert rows == [1, 1]


def test_without_guidance_only_the_prompt(lens) -> None:
    rows = counted(lens.pipe.text_encoder)
    lens(PROMPT, **{**QUICK, "guidance_scale": 0})
    assert rows == [1]


def test_the_empty_prompt_serves_as_padding_and_as_negative_prompt(lens) -> None:
    rows = counted(lens.pipe.text_encoder)
    lens(PROMPT, keep_tokens="all", **QUICK)
    assert rows == [1, 1]


def test_of_two_encoders_each_reads_the_prompt_once() -> None:
    lens = DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler), batch_size=1)
    rows = [counted(encoder) for encoder in (lens.pipe.text_encoder, lens.pipe.text_encoder_2)]
    lens(PROMPT, **QUICK)
    assert rows == [[1], [1]]  # no negative prompt: SDXL takes zeros


def test_an_ablation_runs_the_encoder_once_for_each_block(lens) -> None:
    rows = counted(lens.pipe.text_encoder)
    lens.ablate(PROMPT, **{**QUICK, "guidance_scale": 0})
    assert rows == [1] * 5  # all blocks, and without each of four


# the user's pipeline is his


def test_nothing_of_the_pipeline_changes() -> None:
    lens = DiffusionLens(small_pipeline(PNDMScheduler), batch_size=2)
    pipe = lens.pipe
    lens.encode(PROMPT)  # transformers adds hooks of its own when it is first asked for hidden states
    pipe.scheduler.set_timesteps(7)
    before = {name: id(value) for name, value in vars(pipe).items()}
    state = {name: repr(value) for name, value in vars(pipe.scheduler).items()}
    config, hooks = dict(pipe.config), hooks_of(pipe)
    lens(PROMPT, snapshots=[0], keep_tokens="circle", attention=True, **{**QUICK, "num_inference_steps": 4})
    assert {name: id(value) for name, value in vars(pipe).items()} == before
    assert {name: repr(value) for name, value in vars(pipe.scheduler).items()} == state
    assert dict(pipe.config) == config
    assert hooks_of(pipe) == hooks


def test_user_and_lens_paint_at_the_same_time(lens) -> None:
    """Both results are those of one thread alone, to the byte; the user changes his scheduler meanwhile, too."""
    pipe = lens.pipe
    pipe.set_progress_bar_config(disable=True)

    def stock() -> np.ndarray:
        generator = torch.Generator().manual_seed(5)
        return pipe("a star", num_inference_steps=4, generator=generator, output_type="latent").images.numpy()

    expected_stock, expected = stock(), lens(PROMPT, keep_tokens="circle", **QUICK)
    for _ in range(6):
        job = lens.start(PROMPT, keep_tokens="circle", **QUICK)
        found = []
        while not job.done():
            found.append(stock())
        run = job.result()
        assert all(np.array_equal(one, expected_stock) for one in found)
        for layer, latents in expected.latents.items():
            assert np.array_equal(run.latents[layer], latents)
        for key, image in expected.token_images.items():
            assert run.token_images[key].tobytes() == image.tobytes()


def test_a_scheduler_exchanged_while_a_job_waits_is_the_one_that_is_used_and_recorded(lens) -> None:
    begun, release = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        begun.set()
        release.wait(60)

    first = lens.start(PROMPT, layers=[4], on_step=hold, **QUICK)
    second = lens.start(PROMPT, layers=[4], **QUICK)
    assert begun.wait(60)
    lens.pipe.scheduler = EulerDiscreteScheduler.from_config(lens.pipe.scheduler.config)
    release.set()
    assert first.result(60).settings["scheduler"] == "DDIMScheduler"
    assert second.result(60).settings["scheduler"] == "EulerDiscreteScheduler"


# jobs


def test_asked_from_within_a_run_it_says_so_instead_of_hanging(lens) -> None:
    messages: list[str] = []
    jobs: list[Any] = []

    def on_step(*_: object) -> None:
        if messages:
            return
        for ask in (lambda: lens(PROMPT, **QUICK), lambda: lens.encode(PROMPT)):
            with pytest.raises(RuntimeError) as caught:
                ask()
            messages.append(str(caught.value))
        jobs.append(lens.start("a star", layers=[4], **QUICK))  # that one only waits its turn

    lens(PROMPT, layers=[4], on_step=on_step, **QUICK)
    assert len(messages) == 2
    assert all("from within a run of the same pipeline" in message for message in messages)
    assert jobs[0].result(60).status == "done"


def test_a_job_starts_once(lens) -> None:
    job = lens.start(PROMPT, layers=[4], **QUICK)
    job.result(60)
    with pytest.raises(RuntimeError, match="this run is over already; a job runs once"):
        job.start()
    assert len(job.run.images) == 1


def test_a_job_that_waits_is_cancelled_at_once(lens) -> None:
    release = threading.Event()
    first = lens.start(PROMPT, layers=[4], on_step=lambda *_: release.wait(60), **QUICK)
    second = lens.start(PROMPT, **QUICK)
    assert second.cancel()
    assert second.result(1).status == "stopped"  # the first one still runs
    assert not first.done()
    release.set()
    assert first.result(60).status == "done"
    assert not first.cancel()


def test_a_job_that_is_cancelled_before_it_is_started_paints_nothing(lens) -> None:
    (job,) = lens._jobs(PROMPT, **QUICK)
    assert job.cancel()
    assert job.start().result(60).status == "stopped"
    assert not job.run.images


def test_jobs_run_in_the_order_they_were_given(lens) -> None:
    order: list[int] = []
    jobs = [
        lens.start(PROMPT, layers=[4], on_step=lambda *_, number=number: order.append(number), **QUICK)
        for number in range(12)
    ]
    for job in jobs:
        job.result(60)
    assert order == [number for number in range(12) for _ in range(3)]


def test_pipelines_that_share_a_part_have_one_worker(lens) -> None:
    other = small_pipeline(DDIMScheduler)
    assert worker_of(other) is not worker_of(lens.pipe)
    for name in ("text_encoder", "unet", "vae"):
        sharing = small_pipeline(DDIMScheduler)
        setattr(sharing, name, getattr(lens.pipe, name))
        assert worker_of(sharing) is worker_of(lens.pipe), name


def test_a_job_is_a_future(lens) -> None:
    called: list[str] = []
    job = lens.start(PROMPT, layers=[4], **QUICK)
    job.add_done_callback(lambda future: called.append(future.result().status))
    assert job.result(60) is job.run
    assert job.exception() is None
    assert called == ["done"]


# words


def test_the_signature_has_every_argument() -> None:
    own = {
        DiffusionLens.start: (),
        DiffusionLens.__call__: (),
        DiffusionLens.ablate: ("without_text",),
        DiffusionLens.patch: ("source", "tokens", "output", "both"),
        DiffusionLens.steer: ("direction", "strengths"),
    }
    for function, names in own.items():
        parameters = inspect.signature(function).parameters
        assert list(parameters) == ["self", "prompt", *names, *DEFAULTS]
        assert parameters["num_inference_steps"].default is None, "the model states its own"


@pytest.mark.parametrize("name", ["start", "__call__", "ablate"])
def test_another_name_of_diffusers_is_explained(lens, name) -> None:
    with pytest.raises(TypeError, match=r"'steps': it is called num_inference_steps, as in diffusers"):
        getattr(lens, name)(PROMPT, steps=3)
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'tokens'$"):
        getattr(lens, name)(PROMPT, tokens="circle")


def test_a_warning_points_to_the_callers_line(lens) -> None:
    with pytest.warns(UserWarning, match="cut off") as caught:
        lens("star " * 90, layers=[4], **QUICK)
    assert [warning.filename for warning in caught] == [__file__]


# the end of the process


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)"])
def test_a_script_that_ends_while_a_job_paints_ends_in_good_order(ending) -> None:
    """The job is stopped within one step; a thread that computes while Python is taken down would abort it."""
    program = (
        "import time\n"
        "from diffusers import DDIMScheduler\n"
        "from difflens_widgets import DiffusionLens\n"
        "from pipelines import small_pipeline\n"
        "lens = DiffusionLens(small_pipeline(DDIMScheduler))\n"
        "started = []\n"
        "tell = lambda *_: started.append(1)\n"
        "jobs = [lens.start('a star', num_inference_steps=900, on_step=tell) for _ in range(3)]\n"
        "while not started: time.sleep(0.01)\n"
        f"{ending}\n"
    )
    tests = Path(__file__).parents[1]
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == (3 if ending else 0), done.stderr
    assert "Fatal" not in done.stderr
    assert time.monotonic() - began < 100
