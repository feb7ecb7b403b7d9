"""`difflens bench attention`: its figures are what they say; how large they are is the machine's affair."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, capture_attention
from difflens_widgets.cli import bench_attention
from difflens_widgets.cli import commands as cli
from difflens_widgets.cli.bench_attention import WAYS, all_stored, open_lens, paint, peak_during
from pipelines import small_pipeline
from stock import PROMPT, assert_same_picture

CPU = torch.device("cpu")
PER_STEP = 5 * 2 * (64 + 16 + 2 * 64) * 77 * 4  # layers, heads, the pixels of four modules, keys, bytes of a float32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "small"
    small_pipeline(DDIMScheduler).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def lens(model: str) -> DiffusionLens:
    return open_lens(model)


def test_every_batch_is_filled(lens, monkeypatch) -> None:
    assert lens.batch_size == lens.num_layers == 5  # by default 7, of which two rows would be fillers
    monkeypatch.setattr("difflens_widgets.lens.batch_size.default_batch_size", lambda pipe, device: 1)
    assert open_lens(lens.pipe.config._name_or_path).batch_size == 1


def test_what_is_held_at_the_end(lens) -> None:
    held = {way: paint(lens, way, 3).held for way in WAYS}
    assert held["no capture"] == 0
    assert held["all stored"] == 3 * PER_STEP
    for way in ("mean", "daam"):
        run = lens(bench_attention.PROMPT, attention=way, num_inference_steps=3)
        assert held[way] == run.attention.plan.bytes


def test_all_ways_paint_the_same(lens) -> None:
    runs = {way: paint(lens, way, 2).run for way in WAYS}
    assert [run.attention is not None for run in runs.values()] == [False, True, True, False]
    assert (runs["mean"].attention.plan.aggregator, runs["daam"].attention.plan.aggregator) == ("mean", "daam")
    for layer, image in runs["no capture"].images.items():
        assert runs["mean"].images[layer].tobytes() == runs["daam"].images[layer].tobytes() == image.tobytes()
        assert_same_picture(runs["all stored"].images[layer], image)


def test_what_is_stored_are_the_probabilities_of_the_prompts_rows() -> None:
    pipe = small_pipeline(DDIMScheduler)
    pipe.set_progress_bar_config(disable=True)
    before = pipe.unet.attn_processors
    options = {"num_inference_steps": 3, "guidance_scale": 4.0}
    with all_stored(pipe.unet) as stored:
        pipe(PROMPT, generator=torch.Generator().manual_seed(3), **options)
    assert pipe.unet.attn_processors == before
    with capture_attention(pipe, PROMPT) as maps:
        pipe(PROMPT, generator=torch.Generator().manual_seed(3), **options)
    assert [tuple(one.shape) for one in stored[:4]] == [(2, 64, 77), (2, 16, 77), (2, 64, 77), (2, 64, 77)]
    assert len(stored) == 3 * 4
    torch.testing.assert_close(torch.cat(stored[:1]).sum(-1), torch.ones(2, 64))
    middle = torch.stack(stored[1::4]).mean((0, 1)).reshape(4, 4, 77)
    for place in range(3):
        np.testing.assert_allclose(middle[..., place], maps[0].heatmap(place, block="mid_block"), rtol=1e-4)


def test_processors_come_back_after_an_error() -> None:
    unet = small_pipeline(DDIMScheduler).unet
    before = unet.attn_processors
    with pytest.raises(AttributeError), all_stored(unet):
        unet(None, None, None)
    assert unet.attn_processors == before


def test_smaller_batches_are_not_compared(model) -> None:
    lens = open_lens(model)
    tries = []

    def full(module: Any, args: Any) -> None:
        tries.append(len(args[0]))
        if len(tries) == 1:
            raise torch.OutOfMemoryError("full")

    lens.pipe.unet.register_forward_pre_hook(full)
    with pytest.raises(ValueError, match="mean: 5 layers of 2 steps take too much memory; give fewer steps"):
        paint(lens, "mean", 2)


# memory


def test_the_peak_is_that_of_the_work_alone() -> None:
    if peak_during(lambda: None, CPU) is None:
        pytest.skip("this system does not tell")
    np.ones(2**28, np.uint8)  # a peak before, to be forgotten
    idle = peak_during(lambda: None, CPU)
    peak = peak_during(lambda: np.ones(2**27, np.uint8), CPU)
    assert 2**27 * 0.9 < peak - idle < 2**27 * 1.1
    assert abs(peak_during(lambda: None, CPU) - idle) < 2**25


def test_a_system_that_does_not_tell_is_not_guessed_about(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(bench_attention, "_PROCESS", tmp_path / "nowhere")
    assert peak_during(lambda: pytest.fail("nothing needs to be done"), CPU) is None
    assert peak_during(lambda: pytest.fail("nothing needs to be done"), torch.device("mps")) is None


def test_a_fresh_process_that_fails_says_why() -> None:
    with pytest.raises(ChildProcessError, match=r"daam: the process that measures .* ValueError: ./nowhere: no such"):
        bench_attention._peak_in_fresh_process("./nowhere", "daam", 2)


# the command


def test_the_command(model, tmp_path, capsys) -> None:
    steps, file = 12, tmp_path / "figures.json"
    arguments = ["--model", model, "--steps", str(steps), "--repeats", "1", "--json", str(file)]
    assert cli.main(["bench", "attention", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    written = json.loads(file.read_text("utf-8"))
    assert [row["text"] for row in written["rows"]] == printed
    assert written["options"] == {"what": "attention", "model": model, "steps": 12, "repeats": 1}
    lines = printed[:-1]
    assert re.fullmatch(r"peak memory +\d+ MB  \(this process, from its start on\)", printed[-1])
    figures = {row["name"]: row for row in written["rows"] if "name" in row}
    for way, line in zip(WAYS, lines[1:5], strict=True):
        assert f"{figures[way]['median']:.2f} s " in line
        assert f" {figures[way]['ratio']:.2f} ×" in line
    assert lines[0].startswith(f"{Path(model).name}, 5 layers, 12 steps, batch size 5, ")
    for way, line in zip(WAYS, lines[1:5], strict=True):
        assert re.fullmatch(rf"{way} +median +[\d.]+ s +[\d.]+ ×   \(least [\d.]+, most [\d.]+\)", line)
    assert "  1.00 ×" in lines[1]
    assert re.fullmatch(r"largest pixel difference to no capture: mean 0, daam 0, all stored [01] \(of 255\)", lines[5])
    assert "peak memory of a run in a fresh process: resident memory of the process, weights included" in lines[6]
    if lines[7].startswith("not measured"):
        return
    found = [re.fullmatch(r"(.+?) +([\d.]+) MB +([+-][\d.]+) MB   holds +([\d.]+) MB at its end", x) for x in lines[7:]]
    assert [match[1] for match in found] == list(WAYS)
    more, held = ({match[1]: float(match[number]) for match in found} for number in (3, 4))
    assert held["all stored"] == pytest.approx(steps * PER_STEP / 1e6, abs=0.01)
    assert more["no capture"] == held["no capture"] == 0
    assert more["all stored"] > 0.7 * held["all stored"]
    assert all(100 < float(match[2]) < 10_000 for match in found)


def test_the_ways_take_turns(model, monkeypatch) -> None:
    asked = []

    def painted(lens: DiffusionLens, way: str, steps: int) -> Any:
        asked.append((way, steps))
        return paint(lens, "no capture", 1)

    monkeypatch.setattr(bench_attention, "paint", painted)
    monkeypatch.setattr(bench_attention, "_peak_in_fresh_process", lambda *about: None)
    lines = [str(row) for row in bench_attention.bench_attention(model, num_inference_steps=7, repeats=3)]
    assert asked == [(way, 1) for way in WAYS] + 3 * [(way, 7) for way in WAYS]
    assert lines[-1] == "not measured: this system does not tell; Linux and CUDA do"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-sizes", "1,4"], "--batch-sizes: only `difflens bench lens` compares batch sizes"),
        (["--steps", "0"], "steps: 0 must be at least 1"),
        (["--repeats", "0"], "repeats: 0 must be at least 1"),
        (["--model", "./nowhere"], "./nowhere: no such file or folder"),
        (["--device", "gpu"], "device: 'gpu' cannot be used; here are: "),
        (["--json", "./nowhere/figures.json"], "nowhere"),
        (["--minutes", "1"], "--minutes: only `difflens bench channel` moves sliders"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys) -> None:
    assert cli.main(["bench", "attention", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
