"""DiffusionLens: its arguments, its jobs, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from difflens_widgets import DiffusionLens, LensJob, LensRun
from difflens_widgets.lens.batch import BatchRow, next_rows, rows_per_call
from difflens_widgets.lens.read_part import read_part
from difflens_widgets.runs.events import Done, Event, Failed, LayerImage, Preview, Progress, Snapshot
from edited_layers import spoil_layer
from pipelines import small_pipeline

PROMPT = "a red circle on a blue background"
QUICK = {"num_inference_steps": 2, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


@pytest.fixture
def fresh_lens() -> DiffusionLens:
    """One that a test may break."""
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


class Gate:
    """Holds the U-Net before each forward until it is opened."""

    def __init__(self, lens: DiffusionLens) -> None:
        self.open, self.reached, self.forwards = threading.Event(), threading.Event(), 0
        lens.pipe.unet.register_forward_pre_hook(self._wait)

    def _wait(self, *_) -> None:
        self.forwards += 1
        self.reached.set()
        assert self.open.wait(60)


# what a run gives


def test_a_run_has_everything(lens) -> None:
    run = lens(PROMPT, seed=5, negative_prompt="a star", **QUICK)
    assert isinstance(run, LensRun)
    assert run.status == "done"
    assert (run.prompt, run.seed, run.layers, run.num_layers) == (PROMPT, 5, tuple(range(5)), 5)
    assert sorted(run.images) == sorted(run.latents) == list(range(5))
    assert run.images[0].size == (32, 32)
    assert run.latents[0].shape == (4, 8, 8)
    assert run.latents[0].dtype == np.float32
    assert [token.text for token in run.tokens if token.kind == "word"] == PROMPT.split()
    settings = run.settings
    assert (settings["num_inference_steps"], settings["guidance_scale"], settings["negative_prompt"]) == (
        2,
        2.0,
        "a star",
    )
    assert settings["scheduler"] == "DDIMScheduler"
    assert settings["versions"]["torch"] == torch.__version__
    json.dumps(settings)


def test_a_list_of_prompts_gives_a_list_of_runs(lens) -> None:
    runs = lens([PROMPT, "a green star"], layers=[4], **QUICK)
    assert [run.prompt for run in runs] == [PROMPT, "a green star"]
    assert runs[0].images[4].tobytes() == lens(PROMPT, layers=[4], **QUICK).images[4].tobytes()
    assert runs[0].images[4].tobytes() != runs[1].images[4].tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"num_inference_steps": 3},
        {"guidance_scale": 4.0},
        {"negative_prompt": "star"},
        {"latents": torch.ones(4, 8, 8)},
    ],
    ids=str,
)
def test_every_option_shows_in_the_picture(lens, change) -> None:
    plain = lens(PROMPT, layers=[4], **QUICK).images[4]
    assert lens(PROMPT, layers=[4], **{**QUICK, **change}).images[4].tobytes() != plain.tobytes()


def test_a_generator_in_place_of_the_seed_is_copied_and_left_alone(lens) -> None:
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    run = lens(PROMPT, layers=[4], seed=generator, **QUICK)
    assert run.images[4].tobytes() == lens(PROMPT, layers=[4], seed=5, **QUICK).images[4].tobytes()
    assert torch.equal(generator.get_state(), before)
    assert (run.seed, run.settings["own_generator"]) == (5, True)


def test_height_and_width(lens) -> None:
    run = lens(PROMPT, layers=[4], height=32, width=48, **QUICK)
    assert run.images[4].size == (48, 32)
    assert run.latents[4].shape == (4, 8, 12)


def test_own_latents_are_where_the_stock_pipeline_starts_too(lens) -> None:
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(9))
    run = lens(PROMPT, layers=[4], latents=latents, **QUICK)
    lens.pipe.set_progress_bar_config(disable=True)
    stock = lens.pipe(PROMPT, latents=latents[None], num_inference_steps=2, guidance_scale=2.0).images[0]
    assert np.abs(np.asarray(run.images[4], int) - np.asarray(stock, int)).max() <= 1
    assert run.settings["own_latents"]


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler,
        EulerDiscreteScheduler,
        DPMSolverMultistepScheduler,
        UniPCMultistepScheduler,
        HeunDiscreteScheduler,  # calls the model twice a step
    ],
)
def test_snapshots_are_the_predictions_at_the_asked_steps(scheduler) -> None:
    lens = DiffusionLens(small_pipeline(scheduler), batch_size=2)
    run = lens(PROMPT, layers=[0, 4], num_inference_steps=5, guidance_scale=2.0, snapshots=[1, 4])
    assert sorted(run.snapshots) == [(0, 1), (0, 4), (4, 1), (4, 4)]
    assert run.settings["snapshots"] == [1, 4]
    # the last prediction is the picture, whatever the scheduler: else noise was decoded
    last = np.abs(np.asarray(run.snapshots[4, 4], int) - np.asarray(run.images[4], int)).mean()
    first = np.abs(np.asarray(run.snapshots[4, 1], int) - np.asarray(run.images[4], int)).mean()
    assert last < 2
    assert last < first


def test_the_model_hash_follows_the_weights() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=1)
    before = lens(PROMPT, layers=[0], **QUICK).settings["model_hash"]
    assert lens(PROMPT, layers=[0], **QUICK).settings["model_hash"] == before
    with torch.no_grad():
        lens.pipe.unet.conv_out.weight.mul_(1.01)
    assert lens(PROMPT, layers=[0], **QUICK).settings["model_hash"] != before


def test_the_users_pipeline_is_left_as_it_was(lens) -> None:
    lens.pipe.set_progress_bar_config(desc="mine")
    lens(PROMPT, layers=[4], **QUICK)
    assert lens.pipe._progress_bar_config == {"desc": "mine"}
    assert "step" not in vars(lens.pipe.scheduler)
    assert not lens.pipe.text_encoder._forward_hooks
    assert not lens.pipe.text_encoder._forward_pre_hooks


# a job that is alive


def test_start_returns_at_once_and_tells_the_whole_story(fresh_lens) -> None:
    gate = Gate(fresh_lens)
    job = fresh_lens.start(PROMPT, **QUICK)
    assert isinstance(job, LensJob)
    assert not job.done()
    events: list[Event] = []
    job.subscribe(events.append)
    gate.open.set()
    run = job.result(60)
    assert run is job.run
    assert job.done()
    kinds = [type(event) for event in events]
    assert kinds[-1] is Done
    assert kinds.count(LayerImage) == 5
    assert {event.layer for event in events if isinstance(event, LayerImage)} == set(range(5))
    previews = [event for event in events if isinstance(event, Preview)]
    assert previews
    assert all(event.step < event.steps == 2 for event in previews)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].layers_done <= progress[-1].layers_total == 5
    assert progress[-1].seconds_left is not None


def test_who_subscribes_late_is_told_what_is_painted(lens) -> None:
    job = lens.start(PROMPT, **QUICK)
    job.result(60)
    events: list[Event] = []
    job.subscribe(events.append)
    assert [type(event) for event in events] == [LayerImage] * 5 + [Done]


def test_no_previews_are_decoded_for_nobody(fresh_lens) -> None:
    decoded = []
    fresh_lens.pipe.vae.decoder.register_forward_pre_hook(lambda *_: decoded.append(1))
    fresh_lens(PROMPT, **QUICK)
    assert len(decoded) == 3  # once a call: 5 layers, 2 at a time


def test_cancel_takes_effect_within_one_step_and_keeps_what_is_painted(fresh_lens) -> None:
    gate = Gate(fresh_lens)
    job = fresh_lens.start(PROMPT, num_inference_steps=50, guidance_scale=2.0)
    assert gate.reached.wait(60)
    job.cancel()
    forwards = gate.forwards
    gate.open.set()
    run = job.result(60)
    assert gate.forwards == forwards  # the forward that was under way was the last
    assert run.status == "stopped"
    assert not run.images
    # and the pipeline works on
    assert fresh_lens(PROMPT, layers=[0], **QUICK).status == "done"


def test_cancel_while_waiting_for_the_pipeline(fresh_lens) -> None:
    gate = Gate(fresh_lens)
    first, second = fresh_lens.start([PROMPT, "a star"], **QUICK)
    assert gate.reached.wait(60)
    second.cancel()
    gate.open.set()
    assert second.result(60).status == "stopped"
    assert first.result(60).status == "done"


def test_two_lenses_never_share_a_pipeline_at_the_same_time(fresh_lens) -> None:
    other = DiffusionLens(fresh_lens.pipe, batch_size=2)
    gate = Gate(fresh_lens)
    first = fresh_lens.start(PROMPT, layers=[0, 1], **QUICK)
    assert gate.reached.wait(60)
    second = other.start(PROMPT, layers=[0, 1], **QUICK)
    time.sleep(0.2)
    assert gate.forwards == 1
    gate.open.set()
    assert first.result(60).images[0].tobytes() == second.result(60).images[0].tobytes()


def test_a_job_can_be_awaited(lens) -> None:
    async def wait() -> LensRun:
        return await lens.start(PROMPT, layers=[0], **QUICK)

    assert asyncio.run(wait()).status == "done"


def test_the_last_word_on_progress_counts_every_picture(lens) -> None:
    job = lens.start(PROMPT, layers=[0, 1, 2], keep_tokens=["circle"], **QUICK)
    job.result(60)
    assert job.progress.complete
    assert (job.progress.layers_done, job.progress.tokens_done, job.progress.seconds_left) == (3, 3, 0)


def test_result_with_a_timeout(fresh_lens) -> None:
    gate = Gate(fresh_lens)
    job = fresh_lens.start(PROMPT, layers=[0], **QUICK)
    with pytest.raises(TimeoutError, match="it goes on"):
        job.result(0.05)
    gate.open.set()
    assert job.result(60).status == "done"


def test_a_listener_that_fails_does_not_harm_the_run(lens, caplog) -> None:
    job = lens.start(PROMPT, layers=[0, 1], **QUICK)

    def fail(event: Event) -> None:
        raise RuntimeError("mine")

    job.subscribe(fail, previews=False)
    assert job.result(60).status == "done"


def test_order_is_the_layer_on_screen_then_every_fourth_then_the_rest() -> None:
    order, remaining = [], [BatchRow(layer) for layer in range(13)]
    while remaining:
        order += next_rows(remaining, 1, focus=6 if not order else None, num_layers=13).values()
        remaining.remove(order[-1])
    assert [row.layer for row in order] == [6, 12, 8, 4, 0, 11, 10, 9, 7, 5, 3, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 13])
def test_a_row_has_its_place_in_the_batch_whatever_else_is_asked(size) -> None:
    whole = [BatchRow(layer) for layer in range(13)]
    places: dict[BatchRow, int] = {}
    remaining, calls = list(whole), 0
    while remaining:
        chosen = next_rows(remaining, size, None, 13, batch_invariant=True)
        places |= {row: index for index, row in chosen.items()}
        remaining = [row for row in remaining if row not in chosen.values()]
        calls += 1
    assert calls == -(-13 // size)  # and no place is wasted
    for row in whole:
        assert next_rows([row], size, None, 13, batch_invariant=True) == {places[row]: row}


def test_calls_of_a_run_have_equally_many_rows_and_as_few_as_that_needs() -> None:
    for total, size, rows in [(1, 7, 1), (7, 7, 7), (8, 7, 4), (13, 7, 7), (13, 13, 13), (13, 5, 5), (13, 6, 5)]:
        assert rows_per_call(total, size) == rows
    for total in range(1, 60):
        for size in range(1, 20):
            rows = rows_per_call(total, size)
            calls = -(-total // size)
            assert rows <= size
            assert (calls - 1) * rows < total <= calls * rows  # no more calls than needed, none of them empty


def test_focus_is_painted_first(fresh_lens) -> None:
    gate = Gate(fresh_lens)
    job = fresh_lens.start(PROMPT, **QUICK)
    painted: list[int] = []
    job.subscribe(lambda event: painted.append(event.layer) if isinstance(event, LayerImage) else None)
    assert gate.reached.wait(60)  # layers 4 and 0 are under way
    job.focus = 2
    gate.open.set()
    job.result(60)
    assert painted[:3] == [4, 0, 2]


def test_within_a_call_too_the_layer_on_screen_is_first(fresh_lens) -> None:
    """It changes while layers 4 and 0 are denoised together: its preview comes first then, and so does its image."""
    seen: list[tuple[str, int, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Preview | Snapshot | LayerImage):
            seen.append((type(event).__name__, event.layer, getattr(event, "step", 0)))
        if isinstance(event, Preview) and event.step == 1:
            job.focus = 0

    (job,) = fresh_lens._jobs(PROMPT, layers=[0, 4], snapshots=[1, 2], num_inference_steps=4, guidance_scale=2.0)
    job.subscribe(listen)
    job.wait()
    first: dict[tuple[str, int], int] = {}
    for name, layer, step in seen:
        first.setdefault((name, step), layer)
    assert first["Preview", 1] == 4  # what was on screen before
    later = {at: layer for at, layer in first.items() if at != ("Preview", 1)}
    assert {("Snapshot", 1), ("Snapshot", 2), ("LayerImage", 0)} <= later.keys()
    assert set(later.values()) == {0}


# not finite, errors


def test_a_layer_that_is_not_finite_is_named_and_the_others_go_on(fresh_lens, monkeypatch) -> None:
    spoil_layer(monkeypatch, 3)
    job = fresh_lens.start(PROMPT, **QUICK)
    events: list[Event] = []
    job.subscribe(events.append)
    run = job.result(60)
    assert sorted(run.images) == [0, 1, 2, 4]
    assert "layer 3: the picture is not finite" in run.failures[3]
    assert [event.layer for event in events if isinstance(event, Failed)] == [3]
    assert run.status == "done"


def test_an_error_in_the_model_reaches_result_and_the_record(fresh_lens) -> None:
    def broken(*_) -> None:
        raise RuntimeError("no such kernel")

    fresh_lens.pipe.unet.register_forward_pre_hook(broken)
    job = fresh_lens.start(PROMPT, **QUICK)
    with pytest.raises(RuntimeError, match="no such kernel"):
        job.result(60)
    assert job.run.status == "failed"
    assert job.run.message == "RuntimeError: no such kernel"


# bad input


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": [5]}, ValueError, r"layers: 5 is outside 0\.\.4 for this text encoder"),
        ({"layers": [-1]}, ValueError, r"layers: -1 is outside 0\.\.4"),
        ({"layers": []}, ValueError, "layers: empty"),
        ({"layers": [1, 2, 1]}, ValueError, "layers: 1 is given 2 times"),
        ({"layers": 3}, TypeError, r"layers: expected several, such as \[3\]"),
        ({"layers": [1.5]}, TypeError, "layers: expected a whole number, got 1.5"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps: 0 must be at least 1"),
        ({"num_inference_steps": 2.5}, TypeError, "num_inference_steps: expected a whole number"),
        ({"seed": -1}, ValueError, "seed: -1 must be at least 0"),
        ({"seed": 2**63}, ValueError, r"seed: \d+ is outside"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale: nan must be a finite"),
        ({"guidance_scale": -1}, ValueError, "guidance_scale: -1 must be"),
        ({"height": 33}, ValueError, "height: 33 is not divisible by 8; the nearest are 32, 40"),
        ({"width": 0}, ValueError, "width: 0 must be at least 8"),
        ({"latents": torch.ones(4, 9, 8)}, ValueError, r"latents: the shape is \(4, 9, 8\), for 32 × 32 it must be"),
        ({"latents": torch.full((4, 8, 8), torch.nan)}, ValueError, "latents: some values are NaN"),
        ({"snapshots": [20]}, ValueError, r"snapshots: step 20 is outside 0\.\.19"),
        ({"negative_prompt": 0}, TypeError, "negative_prompt: expected str, got int"),
        ({"setps": 3}, TypeError, "setps"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_anything_is_computed(lens, options, error, message) -> None:
    encoder = lens.pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))
    try:
        with pytest.raises(error, match=message):
            lens(PROMPT, **options)
    finally:
        encoder.remove()


@pytest.mark.parametrize(("prompt", "error"), [([], ValueError), (3, TypeError), ([PROMPT, 3], TypeError)], ids=str)
def test_prompts_that_are_none(lens, prompt, error) -> None:
    with pytest.raises(error, match=r"prompt|iterable"):
        lens(prompt)


def test_an_empty_prompt_is_a_prompt(lens) -> None:
    run = lens("", layers=[4], **QUICK)
    assert not [token for token in run.tokens if token.kind == "word"]
    assert run.images[4].size == (32, 32)


def test_a_prompt_that_is_too_long_says_what_was_cut(lens) -> None:
    with pytest.warns(UserWarning, match="the text encoder reads 77 tokens; cut off: “star star”"):
        run = lens("red " * 75 + "star star", layers=[4], **QUICK)
    assert len(run.tokens) == 77
    assert run.tokens[-1].kind == "eos"
    assert run.settings["cut_off"] == "star star"


@pytest.mark.parametrize(
    ("prompt", "cut", "read", "said"),
    [
        ("red foxes", "", "red foxes", ""),
        ("red foxes run", "run", "red foxes ", "run"),
        ("red foxes", "xes", "red ", "…xes"),  # within a word
        ("red foxes \n", "xes", "red ", "…xes"),
        ("foxes foxes", "xes", "foxes ", "…xes"),
        ("red-foxes", "foxes", "red-", "foxes"),
        ("猫猫猫", "猫", "猫猫", "猫"),  # a script that puts no spaces between words
        ("red 2026", "26", "red ", "…26"),
        ("Foxes", "another text", "", "another text"),  # a pipeline that changes the prompt
    ],
)
def test_what_is_read_and_what_is_cut_off(prompt, cut, read, said) -> None:
    assert read_part(prompt, cut) == (read, said)
    assert read_part(prompt, said) == (read, said)


def test_a_job_has_its_own_noise_whatever_the_user_does_with_his(tmp_path) -> None:
    """The generator, and own latents, are copied when the job is created."""
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=1)
    options = {"layers": [0, 4], "num_inference_steps": 1, "cache": False}
    latents = torch.ones(4, 8, 8)
    generator = torch.Generator().manual_seed(5)
    jobs = [lens._jobs(PROMPT, seed=generator, **options)[0], lens._jobs(PROMPT, latents=latents, **options)[0]]
    expected = [lens(PROMPT, seed=5, **options), lens(PROMPT, latents=torch.ones(4, 8, 8), **options)]
    torch.rand(3, generator=generator)
    latents.zero_()
    for job, run in zip(jobs, expected, strict=True):
        assert job.wait().images[4].tobytes() == run.images[4].tobytes()


def test_a_number_of_numpy_is_saved(tmp_path) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    run = lens(PROMPT, layers=[4], num_inference_steps=1, cross_attention_kwargs={"scale": np.float64(0.5)})
    assert LensRun.load(run.save(tmp_path / "a.lens")).settings["cross_attention_kwargs"] == {"scale": 0.5}
