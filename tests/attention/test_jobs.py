"""Attention in a job that is stopped, runs out of memory, or paints what is not finite."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0

from difflens_widgets import DiffusionLens, capture_attention
from difflens_widgets.attention import capture
from difflens_widgets.runs.events import Event, LayerImage
from edited_layers import spoil_layer
from interrupts import interrupted
from pipelines import small_pipeline
from stock import PROMPT

QUICK = {"num_inference_steps": 2, "guidance_scale": 4.0, "seed": 3}


@pytest.fixture
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


def test_after_running_out_of_memory_nothing_is_counted_twice(lens) -> None:
    forwards = []

    def full(module: Any, args: Any) -> None:
        forwards.append(len(args[0]))
        if len(forwards) == 2:  # in the second step, when there are sums already
            raise torch.OutOfMemoryError("full")

    hook = lens.pipe.unet.register_forward_pre_hook(full)
    run = lens(PROMPT, attention=True, layers=[3, 4], **QUICK)
    hook.remove()
    assert forwards == [4, 4, 2, 2, 2, 2]
    alone = DiffusionLens(lens.pipe, batch_size=1)(PROMPT, attention=True, layers=[3, 4], **QUICK)
    for layer in (3, 4):
        assert np.array_equal(
            run.attention.heatmap("circle", layer=layer), alone.attention.heatmap("circle", layer=layer)
        )


def test_maps_are_there_when_their_picture_is_and_a_stopped_job_keeps_them(lens) -> None:
    job = lens._jobs(PROMPT, attention=True, **QUICK)[0]
    there: list[bool] = []

    def listen(event: Event) -> None:
        if isinstance(event, LayerImage):
            there.append(event.layer in job.run.attention)
            job.cancel()

    job.subscribe(listen)
    run = job.wait()
    assert run.status == "stopped"
    assert there == [True, True]
    assert run.attention.layers == tuple(sorted(run.images))
    assert not any(module._forward_hooks for module in lens.pipe.unet.modules())


def test_a_layer_without_a_picture_has_no_maps(lens, monkeypatch) -> None:
    spoil_layer(monkeypatch, 3)
    run = lens(PROMPT, attention=True, **QUICK)
    assert sorted(run.failures) == [3]
    assert run.attention.layers == (0, 1, 2, 4)
    assert np.isfinite(run.attention.heatmap("circle", layer=4)).all()


@torch.inference_mode()
def test_the_users_own_hooks_and_modes_stay(lens) -> None:
    """A `TorchFunctionMode` of the caller's around a stock call, and a hook on the module."""
    seen, calls = [], []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.scaled_dot_product_attention:
                calls.append(1)
            return func(*args, **(kwargs or {}))

    module = lens.pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    hook = module.register_forward_hook(lambda *_: seen.append(1))
    lens.pipe.set_progress_bar_config(disable=True)
    with Mode():
        with capture_attention(lens.pipe, PROMPT) as maps:
            lens.pipe(PROMPT, num_inference_steps=2, output_type="latent")
        assert torch.overrides._len_torch_function_stack() == 1
    hook.remove()
    assert len(seen) == 2
    assert len(calls) >= 2 * 6  # both of each of three transformer blocks, in each step
    assert maps[0].words == tuple(PROMPT.split())


class Nested(AttnProcessor2_0):
    """Runs something else in another thread, in the middle of each of its forwards in this one."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work, self.times = work, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name != "elsewhere":
            thread = threading.Thread(target=self.work, name="elsewhere")
            thread.start()
            thread.join()
            self.times += 1
        return super().__call__(*args, **kwargs)


def test_another_thread_may_run_the_same_denoiser_meanwhile(lens) -> None:
    """As a stock call in the next cell does."""
    expected = lens(PROMPT, attention=True, **QUICK)
    unet = lens.pipe.unet
    text = torch.randn(3, 77, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def forward() -> None:
        unet(torch.zeros(3, 4, 8, 8), 7, encoder_hidden_states=text)

    processor = Nested(forward)
    unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = processor
    run = lens(PROMPT, attention=True, **QUICK)
    assert processor.times == 2 * 3  # steps, chunks
    for layer in lens.layers:
        assert run.images[layer].tobytes() == expected.images[layer].tobytes()
        for block in expected.attention.blocks:
            maps = [one.attention[layer].token_heatmaps(block=block) for one in (run, expected)]
            assert np.array_equal(*maps)


@torch.inference_mode()
def test_a_call_in_another_thread_is_not_captured(lens) -> None:
    lens.pipe.set_progress_bar_config(disable=True)

    def call() -> None:
        lens.pipe(PROMPT, num_inference_steps=2, output_type="latent")

    def capture_elsewhere() -> None:
        with capture_attention(lens.pipe, PROMPT):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

    with pytest.raises(RuntimeError, match="the pipeline drew nothing inside this `with`, in this thread"):
        capture_elsewhere()


@torch.inference_mode()
@pytest.mark.parametrize("attention", ["mean", "daam"])
def test_an_interrupt_anywhere_is_a_keyboard_interrupt_and_leaves_nothing(lens, attention) -> None:
    """In the lines of this package, of torch's modes and of its hooks, some of thousands."""
    lens.pipe.set_progress_bar_config(disable=True)
    folder = Path(capture.__file__).parent
    files = {*map(str, folder.glob("*.py")), torch.overrides.__file__}

    def call() -> None:
        with capture_attention(lens.pipe, PROMPT, attention=attention):
            lens.pipe(PROMPT, num_inference_steps=2, output_type="latent")

    line, times = 0, 0
    while interrupted(call, line, files):
        assert torch.overrides._get_current_function_mode_stack() == []
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in lens.pipe.unet.modules())
        line, times = line + 1 + line // 20, times + 1
    assert times > 50
