"""compiled=True: torch compiles the denoiser beside a run; the next runs take it, and their images are the same."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import DDIMScheduler
from peft import LoraConfig

from difflens_widgets import DiffusionLens, LensRun, compare
from difflens_widgets.lens import compiled
from difflens_widgets.lens.compiled import wait_until_compiled
from difflens_widgets.runs.events import Event, Message
from pipelines import small_pipeline

PROMPT = "a red circle on a blue background"
OPTIONS: dict[str, Any] = {"layers": [2, 4], "num_inference_steps": 3, "guidance_scale": 3.0, "seed": 5}
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler on this machine"
)


def told(lens: DiffusionLens, **options: Any) -> tuple[LensRun, list[str]]:
    """A run, and its messages."""
    events: list[Event] = []
    [job] = lens._jobs(PROMPT, **{**OPTIONS, **options})
    job.subscribe(events.append)
    run = job.start().result()
    return run, [event.message for event in events if isinstance(event, Message)]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return small_pipeline(DDIMScheduler)


@pytest.fixture(scope="module")
def plain(pipe) -> LensRun:
    return DiffusionLens(pipe)(PROMPT, **OPTIONS)


@pytest.fixture(scope="module")
def lens(pipe) -> DiffusionLens:
    """One whose denoiser is compiled for two rows."""
    lens = DiffusionLens(pipe, compiled=True)
    first = lens(PROMPT, **OPTIONS)
    assert first.settings["compiled"] is False  # it did not wait
    wait_until_compiled()
    return lens


def apart(some: LensRun, other: LensRun) -> tuple[int, float]:
    """The largest difference of a pixel, and of the latents by their size."""
    pixels = max(int(np.abs(np.int16(some.images[k]) - np.int16(other.images[k])).max()) for k in some.images)
    scale = max(float(np.abs(other.latents[k]).max()) for k in other.latents)
    return pixels, max(float(np.abs(some.latents[k] - other.latents[k]).max()) for k in some.latents) / scale


@needs_compiler
def test_the_next_run_takes_it_and_its_images_are_the_same(lens, pipe, plain) -> None:
    run, messages = told(lens)
    assert (run.settings["compiled"], plain.settings["compiled"], messages) == (True, False, [])
    pixels, latents = apart(run, plain)
    assert pixels <= 1
    assert 0 < latents <= 1e-4  # not the same code


@needs_compiler
def test_only_equal_shapes_take_it(lens, pipe, plain) -> None:
    alone, _ = told(lens, layers=[4])
    assert alone.settings["compiled"] is False  # one row: another shape
    assert np.array_equal(alone.latents[4], DiffusionLens(pipe)(PROMPT, **{**OPTIONS, "layers": [4]}).latents[4])
    wait_until_compiled()
    assert told(lens, layers=[4])[0].settings["compiled"] is True


@needs_compiler
def test_changed_weights_are_never_painted_with_old_code(lens, pipe) -> None:
    weight = pipe.unet.conv_in.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.mul_(1.5)
        run, _ = told(lens)
        assert run.settings["compiled"] is False
        assert np.array_equal(run.latents[4], DiffusionLens(pipe)(PROMPT, **OPTIONS).latents[4])
    finally:
        with torch.no_grad():
            weight.copy_(before)
        wait_until_compiled()


@needs_compiler
def test_the_cache_keeps_compiled_images_apart(lens, pipe, plain, tmp_path, monkeypatch) -> None:
    told(lens)
    wait_until_compiled()
    monkeypatch.setenv("DIFFLENS_CACHE", str(tmp_path))
    exact = DiffusionLens(pipe)
    exact(PROMPT, **OPTIONS)
    assert sorted(exact(PROMPT, **OPTIONS).settings["from_cache"]) == [2, 4]
    run, _ = told(lens)
    assert run.settings["compiled"] is True
    assert "from_cache" not in run.settings
    assert sorted(told(lens)[0].settings["from_cache"]) == [2, 4]


@needs_compiler
def test_a_comparison_takes_no_side_compiled(lens, pipe) -> None:
    wait_until_compiled()
    tuned = small_pipeline(DDIMScheduler)
    for name in ("unet", "text_encoder", "vae"):
        getattr(tuned, name).load_state_dict(getattr(pipe, name).state_dict())
    found = compare(lens, DiffusionLens(tuned, compiled=True), PROMPT, num_inference_steps=2)
    assert all(np.array_equal(found.raw.latents[k], found.tuned.latents[k]) for k in found.raw.latents)
    assert (found.raw.settings["compiled"], found.tuned.settings["compiled"]) == (False, False)


def test_a_compiler_that_fails_is_told_and_the_runs_go_on(plain, monkeypatch, caplog) -> None:
    def broken(model: Any, inputs: Any) -> Any:
        raise OSError("no compiler here\nand more lines")

    stock = torch.compile
    monkeypatch.setattr(compiled.torch, "compile", lambda module, **how: stock(module, backend=broken, **how))
    lens = DiffusionLens(small_pipeline(DDIMScheduler), compiled=True)
    lens.pipe.unet.load_state_dict(small_pipeline(DDIMScheduler).unet.state_dict())
    first, before = told(lens)
    wait_until_compiled()
    again, messages = told(lens)
    assert before == []
    assert messages == ["the denoiser is not compiled: torch could not compile it (OSError: no compiler here)"]
    assert "the denoiser runs as it is" in caplog.text
    assert np.array_equal(first.latents[4], again.latents[4])
    assert again.settings["compiled"] is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lens: lens.pipe.unet.add_adapter(LoraConfig(target_modules=["to_k"])), "it has LoRA layers"),
        (lambda lens: lens.pipe.unet.register_forward_hook(lambda *_: None), "it holds a hook on a UNet2DCondition"),
        (lambda lens: lens.pipe.unet.mid_block.compile(backend="eager"), "it is compiled already"),
        (lambda lens: add_hook_to_module(lens.pipe.unet, ModelHook()), "it is offloaded"),
    ],
    ids=["LoRA", "hook", "compiled", "offloaded"],
)
def test_what_cannot_be_compiled_is_told(change, reason) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), compiled=True)
    change(lens)
    run, [message] = told(lens)
    assert message.startswith(f"the denoiser is not compiled: {reason}")
    assert sorted(run.images) == [2, 4]


def test_what_reads_or_changes_the_denoiser_is_painted_without(lens) -> None:
    assert told(lens, attention=True)[1] == ["the denoiser is not compiled: attention is read inside it"]
    job = lens.start_ablate(PROMPT, without_text="all", layers=[3], num_inference_steps=1)
    assert job.result().settings["compiled"] is False
    same_bytes = DiffusionLens(lens.pipe, compiled=True, batch_invariant=True, batch_size=2)
    assert told(same_bytes)[1][0].startswith("the denoiser is not compiled: batch_invariant asks every run")


def test_the_user_s_pipeline_stays_as_it_is(lens, pipe) -> None:
    unet = pipe.unet
    told(lens)
    wait_until_compiled()
    assert pipe.unet is unet
    assert unet._compiled_call_impl is None
    assert "forward" not in vars(unet)
    assert not copy.copy(unet._forward_hooks)


EXITS = """
from difflens_widgets import DiffusionLens
lens = DiffusionLens.from_pretrained(compiled=True)
lens("a red circle", layers=[12], num_inference_steps=1, cache=False)
"""


def test_a_program_that_ends_meanwhile_ends_well() -> None:
    ended = subprocess.run([sys.executable, "-c", EXITS], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, "terminate" in ended.stderr, "runs as it is" in ended.stderr) == (0, False, False)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_compiled_is_true_or_false(pipe, value) -> None:
    with pytest.raises(TypeError, match="compiled: expected True or False"):
        DiffusionLens(pipe, compiled=value)
