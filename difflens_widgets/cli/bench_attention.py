"""Measures the time and memory of attention capture: ``difflens bench attention``.

The time of all ways is measured in this process, in turns. The peak memory of each way is measured in a new process,
because a process keeps memory that an earlier run has allocated.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..attention.unet import cross_attention_layers
from ..lens.diffusion_lens import DiffusionLens
from ..models import checks
from ..runs.run import LensRun
from . import bench_models
from .bench_lens import PROMPT, largest_difference, timed
from .rows import Row

WAYS = ("no capture", "mean", "daam", "all stored")
_PROCESS = Path("/proc/self")  # Linux
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Makes glibc give freed memory back to the system at once: what it keeps differs by 10 MB from run to run."""


class Painted(NamedTuple):
    """One lens run, and the size in bytes of the attention that is kept at its end."""

    run: LensRun
    held: int


def bench_attention(model: str, num_inference_steps: int, repeats: int, device: str | None = None) -> Iterator[Row]:
    """Compare the lens without capture, with each kind of capture, and with all probabilities stored.

    The ways take turns, so that a busy machine slows all of them; each ratio is within one turn. A run generates all
    layers, with guidance, in full batches.

    Parameters
    ----------
    model : str
        As for `bench_models.open_lens`.
    num_inference_steps : int
        Denoising steps, ≥ 1.
    repeats : int
        How many turns, ≥ 1.
    device : str, optional

    Yields
    ------
    Row

    Raises
    ------
    ValueError, TypeError
        For steps or repeats that cannot work.
    OSError
        If the model cannot be loaded, or a new process fails.
    """
    steps = checks.as_int("num_inference_steps", num_inference_steps, at_least=1)
    checks.as_int("repeats", repeats, at_least=1)
    lens = open_lens(model, device)
    threads = f"{torch.get_num_threads()} threads, {lens.pipe.device}"
    yield Row(f"{lens.model}, {lens.num_layers} layers, {steps} steps, batch size {lens.batch_size}, {threads}")

    for way in WAYS:
        paint(lens, way, 1)  # warm up
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    painted: dict[str, Painted] = {}
    for _ in range(repeats):
        for way, spent in times.items():
            painted[way] = timed(spent, partial(paint, lens, way, steps))
    for way, spent in times.items():
        ratios = [mine / plain for mine, plain in zip(spent, times[WAYS[0]], strict=True)]
        spread = f"least {min(spent):.2f}, most {max(spent):.2f}"
        text = f"{way:<12} median {median(spent):7.2f} s   {median(ratios):5.2f} ×   ({spread})"
        yield Row(text, way, "s", spent, {"ratio": median(ratios)})
    plain_images = painted[WAYS[0]].run.images
    apart = {way: largest_difference(painted[way].run.images, plain_images) for way in WAYS[1:]}
    listed = ", ".join(f"{way} {most}" for way, most in apart.items())
    name = "largest pixel difference to no capture"
    yield Row(f"{name}: {listed} (of 255)", name, "of 255", figures=apart)

    what = "CUDA memory allocated" if lens.pipe.device.type == "cuda" else "resident memory of the process"
    yield Row(f"peak memory of a run in a fresh process: {what}, weights included")
    plain = None
    for way in WAYS:
        peak = _peak_in_fresh_process(model, way, steps, device)
        if peak is None:
            yield Row("not measured: this system does not tell; Linux and CUDA do")
            return
        plain = peak if plain is None else plain
        more, held = (peak - plain) / 1e6, painted[way].held / 1e6
        text = f"{way:<12} {peak / 1e6:9.1f} MB   {more:+9.1f} MB   holds {held:9.2f} MB at its end"
        yield Row(text, f"{way}, peak memory", "MB", [peak / 1e6], {"more": more, "held": held})


def open_lens(model: str, device: str | None = None) -> DiffusionLens:
    """Load a model, with a batch size that fills each batch: an attention processor cannot tell padding rows."""
    lens = bench_models.open_lens(model, device)
    if lens.num_layers % lens.batch_size:
        lens.batch_size = lens.num_layers
    return lens


def paint(lens: DiffusionLens, way: str, steps: int) -> Painted:
    """Make one lens run in one of `WAYS`.

    Raises
    ------
    ValueError
        If the run ran out of memory: with smaller batches it cannot be compared.
    """
    with all_stored(lens.pipe.unet, on=way == "all stored") as stored:
        attention = way if way in ("mean", "daam") else False
        run = lens(PROMPT, num_inference_steps=steps, guidance_scale=7.5, seed=0, attention=attention, cache=False)
        if run.settings["batch_size"] != lens.batch_size:
            raise ValueError(f"{way}: {lens.num_layers} layers of {steps} steps take too much memory; give fewer steps")
        maps = [] if run.attention is None else [run.attention[layer].nbytes for layer in run.attention]
        return Painted(run, sum(maps) + sum(tensor.nbytes for tensor in stored))


@contextmanager
def all_stored(unet: Any, *, on: bool = True) -> Iterator[list[Tensor]]:
    """Make each cross-attention module store its probabilities inside this `with`.

    Yields
    ------
    list of Tensor (row and head, pixel, key)
        One for each module and forward, of the rows with the prompt, on the device and in the dtype of the module.
    """
    stored: list[Tensor] = []
    modules: list[Any] = [layer.module for layer in cross_attention_layers(unet)] if on else []
    before = [module.processor for module in modules]
    try:
        for module in modules:
            module.set_processor(_StoringProcessor(stored))
        yield stored
    finally:
        for module, processor in zip(modules, before, strict=True):
            module.set_processor(processor)


class _StoringProcessor:
    """Plain cross-attention, which computes the probabilities and stores them."""

    def __init__(self, stored: list[Tensor]) -> None:
        self.stored = stored

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        mask = attn.prepare_attention_mask(attention_mask, encoder_hidden_states.shape[1], len(hidden_states))
        query, key, value = (
            attn.head_to_batch_dim(part)
            for part in (
                attn.to_q(hidden_states),
                attn.to_k(encoder_hidden_states),
                attn.to_v(encoder_hidden_states),
            )
        )
        probabilities = attn.get_attention_scores(query, key, mask)
        self.stored.append(probabilities[len(probabilities) // 2 :].clone())  # a view would keep all rows
        output = attn.batch_to_head_dim(probabilities @ value)
        return attn.to_out[1](attn.to_out[0](output)) / attn.rescale_output_factor


def peak_during(work: Callable[[], Any], device: torch.device) -> int | None:
    """Measure the peak memory in bytes while `work` runs; None where the system does not tell it.

    On CUDA: what torch has allocated on the device. On a CPU with Linux: the resident memory of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        (_PROCESS / "clear_refs").write_text("5")  # resets the peak: loading a model needs more than running it
    except OSError:
        return None
    work()
    fields = dict(line.split(":", 1) for line in (_PROCESS / "status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def _peak_in_fresh_process(model: str, way: str, steps: int, device: str | None = None) -> int | None:
    command = [sys.executable, "-m", __name__, model, way, str(steps), *([device] if device else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **_GIVE_BACK})
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ChildProcessError(f"{way}: the process that measures its memory failed: {reason}")
    peak = done.stdout.split()[-1]
    return None if peak == "None" else int(peak)


def _main(model: str, way: str, steps: str, device: str | None = None) -> None:
    lens = open_lens(model, device)
    print(peak_during(lambda: paint(lens, way, int(steps)), lens.pipe.device))


if __name__ == "__main__":
    _main(*sys.argv[1:])
