"""Memory runs out: it is recognized, what was held is freed, and the number that fitted is remembered."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from difflens_widgets import DiffusionLens, compare
from difflens_widgets.lens import batch_size, denoise
from difflens_widgets.lens.memory import estimate_memory, memory_for_activations, out_of_memory
from difflens_widgets.runs.events import Event, Message, Snapshot
from pipelines import small_pipeline

PROMPT = "a red circle on a blue background"
QUICK: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 2.0}


def limited_to(lens: DiffusionLens, rows: int, *, part: str = "unet", from_call: int = 0) -> list[int]:
    """Let memory run out with more rows than these; returns the rows of each forward, from now on."""
    forwards: list[int] = []

    def check(_: Any, args: Any) -> None:
        forwards.append(len(args[0]))
        if len(args[0]) > rows and len(forwards) > from_call:
            raise torch.OutOfMemoryError("CUDA out of memory")

    module = lens.pipe.unet if part == "unet" else lens.pipe.vae.decoder
    module.register_forward_pre_hook(check)
    return forwards


def messages_of(lens: DiffusionLens, **options: Any) -> tuple[Any, list[str]]:
    (job,) = lens._jobs(PROMPT, **{**QUICK, **options})
    messages: list[str] = []
    job.subscribe(lambda event: messages.append(event.message) if isinstance(event, Message) else None, previews=False)
    return job.wait(), messages


def test_the_batch_is_halved_and_it_says_so_and_goes_on() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)
    limited_to(lens, 4)
    run, messages = messages_of(lens)
    assert sorted(run.images) == list(range(5))
    assert (run.settings["batch_size"], run.settings["rows_per_call"]) == (2, 2)
    assert messages == [
        "out of memory: going on with 3 layers at a time",
        "out of memory: going on with 2 layers at a time",
    ]


def test_what_fitted_is_remembered_for_the_pipeline_and_said_once() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)
    forwards = limited_to(lens, 4)
    first, _ = messages_of(lens)
    forwards.clear()
    for again in (lens, DiffusionLens(lens.pipe, batch_size=4)):  # another lens on the same pipeline, too
        run, messages = messages_of(again)
        assert messages == []
        assert run.settings["batch_size"] == 2
        assert run.images[3].tobytes() == first.images[3].tobytes()
    assert max(forwards) == 4
    assert again.batch_size == 4  # the argument stays what it was
    smaller, _ = messages_of(lens, height=16, width=16, layers=[4, 3, 2])  # another size is tried by itself
    assert max(forwards) == 6
    assert smaller.settings["batch_size"] == 2
    other, _ = messages_of(DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5))
    assert other.settings["batch_size"] == 5


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_the_retry_tells_nothing_twice(part) -> None:
    """Memory runs out in the last step, or when the images are decoded: the steps before were told."""
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3)
    limited_to(lens, {"unet": 2, "vae": 1}[part], part=part, from_call={"unet": 2, "vae": 2}[part])
    steps: Counter[tuple[int, int]] = Counter()
    snapshots: Counter[tuple[int, int]] = Counter()
    (job,) = lens._jobs(
        PROMPT,
        layers=[4, 3, 1],
        snapshots=[0, 1],
        on_step=lambda layer, step, *_: steps.update([(layer, step)]),
        **QUICK,
    )

    def listen(event: Event) -> None:
        if isinstance(event, Snapshot):
            snapshots.update([(event.layer, event.step)])

    job.subscribe(listen, previews=False)
    run = job.wait()
    assert run.settings["batch_size"] == 1
    assert steps == {(layer, step): 1 for layer in (4, 3, 1) for step in range(3)}
    assert snapshots == {(layer, step): 1 for layer in (4, 3, 1) for step in (0, 1)}
    assert set(run.snapshots) == set(snapshots)


def test_nothing_of_the_failed_call_is_alive_when_memory_is_freed(monkeypatch) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3)
    seen: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def full(_: Any, args: Any) -> None:
        if len(args[0]) > 2:
            seen.append(weakref.ref(args[0]))
            raise torch.OutOfMemoryError("CUDA out of memory")

    lens.pipe.unet.register_forward_pre_hook(full)
    freed = denoise.free_memory

    def count() -> None:
        gc.collect()
        alive.append(sum(ref() is not None for ref in seen))
        freed()

    monkeypatch.setattr(denoise, "free_memory", count)
    messages_of(lens)
    assert len(seen) == len(alive) == 2
    assert alive == [0, 0]


def test_even_alone_it_is_an_error() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)
    limited_to(lens, 0)
    with pytest.raises(torch.OutOfMemoryError):
        lens(PROMPT, **QUICK)


def test_compared_models_have_equally_many_rows_also_if_only_one_runs_out_of_memory() -> None:
    raw, tuned = (DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3) for _ in range(2))
    limited_to(tuned, 4)
    found = compare(raw, tuned, PROMPT, layers=[4, 3, 2], **QUICK)
    assert {run.settings["rows_per_call"] for run in found.runs.values()} == {2}
    for layer in (4, 3, 2):
        assert found.raw.latents[layer].tobytes() == found.tuned.latents[layer].tobytes()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.74 GB, other allocations: 384 KB, max allowed: ..."),
        RuntimeError("Invalid buffer size: 42.19 GB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:30],
)
def test_it_is_recognized_on_any_device(error) -> None:
    assert out_of_memory(error)
    wrapped = RuntimeError("the forward failed")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


@pytest.mark.parametrize("error", [RuntimeError("no such kernel"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not(error) -> None:
    assert not out_of_memory(error)


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in tree_iter(output):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in self._seen:
                self._seen.add(storage._cdata)
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.alive)
        return output

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


@torch.inference_mode()
def test_the_estimate_covers_the_tensors_of_stable_diffusion_and_at_most_twice_as_much() -> None:
    """Of SD 1.5 at 512 × 512; its tensors have shapes, but no memory."""
    with FakeTensorMode():
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        pipe = SimpleNamespace(unet=unet, vae=vae, vae_scale_factor=8)
        with Peak() as forward:
            unet(torch.zeros(4, 4, 64, 64), 7, encoder_hidden_states=torch.zeros(4, 77, 768))
        with Peak() as decoding:
            vae.decode(torch.zeros(2, 4, 64, 64))
    needed = max(forward.most, decoding.most)
    assert needed > 1e9
    assert needed <= estimate_memory(pipe, 2, 512, 512) <= 2 * needed
    vae.use_slicing = True  # one row at a time: with many rows the U-Net's forward is what counts
    assert estimate_memory(pipe, 2, 512, 512) == estimate_memory(pipe, 1, 512, 512) >= decoding.most // 2
    assert 10 * forward.most <= estimate_memory(pipe, 20, 512, 512) <= 20 * forward.most
    assert estimate_memory(pipe, 20, 512, 512) == 2 * estimate_memory(pipe, 20, 512, 512, guided=False)


def test_the_default_is_what_memory_holds_and_a_number_of_the_caller_stays(monkeypatch, caplog) -> None:
    pipe = small_pipeline(DDIMScheduler)
    one = estimate_memory(pipe, 1, 32, 32)
    assert memory_for_activations(pipe, torch.device("cpu")) > 100 * one
    monkeypatch.setattr(batch_size, "memory_for_activations", lambda pipe, device: 3.5 * one)
    assert DiffusionLens(pipe)(PROMPT, **QUICK).settings["batch_size"] == 3
    assert DiffusionLens(pipe, batch_size=5)(PROMPT, **QUICK).settings["batch_size"] == 5
    monkeypatch.setattr(batch_size, "memory_for_activations", lambda pipe, device: one // 2)
    assert DiffusionLens(pipe)(PROMPT, **QUICK).settings["batch_size"] == 1
    assert "it may not fit" in caplog.text


def test_with_offloading_the_device_that_computes_decides() -> None:
    pipe = small_pipeline(DDIMScheduler)
    lens = DiffusionLens(pipe)
    assert lens.batch_size == 13
    large = SimpleNamespace(unet=torch.nn.Linear(10_000, 6_000, device="meta"), device=torch.device("cpu"))
    assert batch_size.default_batch_size(large, torch.device("cpu")) == 1
    assert batch_size.default_batch_size(large, torch.device("cuda")) == 13
    large._execution_device = torch.device("cuda")
    assert DiffusionLens.batch_size.__get__(SimpleNamespace(pipe=large, _batch_size=None)) == 13
