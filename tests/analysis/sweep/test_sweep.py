"""sweep(): runs of many prompts and seeds, on executors of all kinds; what is done is not done again."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, LensRun, Sweep, sweep
from difflens_widgets.analysis.sweep.claims import Claims
from difflens_widgets.analysis.sweep.units import UnitFiles
from difflens_widgets.cli import main
from difflens_widgets.cli.sweep import read_prompts
from pipelines import small_pipeline

PROMPTS = ["a red circle", "a blue dog"]
QUICK = {"num_inference_steps": 1, "guidance_scale": 0, "layers": [0, 4]}


def small_lens() -> DiffusionLens:
    """What a worker of another process calls."""
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


class Bright:
    description = "Bright"

    def __init__(self) -> None:
        self.asked = []

    def judge(self, images, prompt) -> list[bool]:
        self.asked.append((prompt, len(images)))
        return [float(np.asarray(image).mean()) > 100 for image in images]


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return small_lens()


@pytest.fixture
def painted(lens, monkeypatch) -> list[tuple[str, int]]:
    """The runs that were started after the check of the arguments."""
    seen = []
    jobs = lens._jobs

    def watched(prompt, **options):
        made = jobs(prompt, **options)
        for job in made:
            job.start = lambda start=job.start: (seen.append((prompt, options["seed"])), start())[1]
        return made

    monkeypatch.setattr(lens, "_jobs", watched)
    return seen


def test_every_prompt_from_every_seed(lens, tmp_path, painted) -> None:
    result = sweep(lens, [*PROMPTS, PROMPTS[0]], seeds=[0, 3], out=tmp_path, **QUICK)
    assert painted == [(prompt, seed) for prompt in PROMPTS for seed in (0, 3)]
    assert (result.prompts, result.seeds, result.layers) == (tuple(PROMPTS), (0, 3), (0, 4))
    assert result.failures == {}
    run = result.run(PROMPTS[1], 3)
    alone = lens(PROMPTS[1], seed=3, **QUICK)
    assert isinstance(run, LensRun)
    assert all(run.images[layer].tobytes() == alone.images[layer].tobytes() for layer in (0, 4))
    with pytest.raises(ValueError, match="has no run of 'a red circle' from seed 9"):
        result.run(PROMPTS[0], 9)


def test_the_table_has_a_row_for_each_picture(lens, tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    judge = Bright()
    result = sweep(lens, PROMPTS, seeds=[0, 1], judge=judge, out=tmp_path, **QUICK)
    table = result.table()
    assert len(table) == 8
    assert list(table.columns)[:4] == ["prompt", "seed", "layer", "right"]
    last = table[table.layer == 4]
    assert (last.ssim == 1).all()
    assert (last.latent_rms == 0).all()
    assert (table[table.layer == 0].latent_rms > 0).all()
    assert str(table.right.dtype) == "boolean"
    row = table[(table.prompt == PROMPTS[0]) & (table.seed == 1) & (table.layer == 4)].iloc[0]
    image = result.run(PROMPTS[0], 1).images[4]
    assert bool(row.right) == (float(np.asarray(image).mean()) > 100)
    parquet = pytest.importorskip("pyarrow.parquet")
    stored = parquet.read_table(tmp_path / "measures.parquet").to_pandas()
    assert stored.ssim.tolist() == table.ssim.tolist()
    assert stored.prompt.tolist() == table.prompt.tolist()
    loaded = Sweep.load(tmp_path)
    pandas.testing.assert_frame_equal(loaded.table(), table)
    assert loaded.settings["num_inference_steps"] == 1


def test_nothing_is_generated_twice_and_more_may_be_asked(lens, tmp_path, painted) -> None:
    sweep(lens, PROMPTS, out=tmp_path, **QUICK)
    del painted[:]
    sweep(lens, PROMPTS, out=tmp_path, **QUICK)
    assert painted == []
    sweep(lens, [*PROMPTS, "a star"], seeds=[0, 1], out=tmp_path, **QUICK)
    assert painted == [(PROMPTS[0], 1), (PROMPTS[1], 1), ("a star", 0), ("a star", 1)]
    del painted[:]
    sweep(lens, PROMPTS, out=tmp_path, **{**QUICK, "guidance_scale": 2})
    assert len(painted) == 2, "other settings are other runs"


def test_another_judge_looks_at_the_pictures_that_are_there(lens, tmp_path, painted) -> None:
    first = sweep(lens, PROMPTS, out=tmp_path, **QUICK)
    with pytest.raises(ValueError, match="judge: this sweep has none"):
        first.shares()
    del painted[:]
    judge = Bright()
    judged = sweep(lens, PROMPTS, judge=judge, out=tmp_path, **QUICK)
    assert painted == []
    assert (PROMPTS[0], 2) in judge.asked
    assert judged.shares().shape == (2, 3)
    count = len(judge.asked)
    sweep(lens, PROMPTS, judge=judge, out=tmp_path, **QUICK)
    assert len(judge.asked) == count + len(PROMPTS), "only the check before the start, without pictures"


def test_the_plot_has_intervals(lens, tmp_path) -> None:
    plain = sweep(lens, PROMPTS, seeds=[0, 1], out=tmp_path, **QUICK)
    similarity = plain.similarity()
    assert similarity[1].tolist() == [1, 1, 1]
    assert similarity[0, 1] < similarity[0, 0] < similarity[0, 2]
    assert plain.plot().axes[0].get_ylabel() == "SSIM to the last layer"
    judged = sweep(lens, PROMPTS, seeds=[0, 1], judge=Bright(), out=tmp_path, **QUICK)
    assert judged.plot().axes[0].get_ylabel() == "pictures judged right (%)"


def test_a_run_that_fails_is_tried_again_recorded_and_tried_again_by_the_next_call(lens, tmp_path, caplog) -> None:
    def broken(*_) -> None:
        tries.append(1)
        raise RuntimeError("no such kernel")

    tries = []
    hook = lens.pipe.unet.register_forward_pre_hook(broken)
    result = sweep(lens, PROMPTS, out=tmp_path, retries=2, **QUICK)
    hook.remove()
    assert len(tries) == 6
    assert result.failures == {(prompt, 0): "RuntimeError: no such kernel" for prompt in PROMPTS}
    assert "failed: no such kernel" in caplog.text
    with pytest.raises(ValueError, match="failed: RuntimeError: no such kernel"):
        result.run(PROMPTS[0], 0)
    assert len(Sweep.load(tmp_path).failures) == 2
    assert sweep(lens, PROMPTS, out=tmp_path, **QUICK).failures == {}
    assert not list((tmp_path / "failed").iterdir())


def test_damaged_files_are_generated_again(lens, tmp_path, painted) -> None:
    sweep(lens, PROMPTS, out=tmp_path, **QUICK)
    next((tmp_path / "units").iterdir()).write_text("{")
    sorted((tmp_path / "runs").iterdir())[0].unlink()
    del painted[:]
    result = sweep(lens, PROMPTS, out=tmp_path, **QUICK)
    assert 1 <= len(painted) <= 2
    assert result.failures == {}


def test_threads_share_the_lens(lens, tmp_path) -> None:
    with ThreadPoolExecutor(3) as executor:
        result = sweep(lens, PROMPTS, seeds=range(3), executor=executor, out=tmp_path, **QUICK)
    assert result.failures == {}
    assert len(list((tmp_path / "runs").iterdir())) == 6


def test_ctrl_c_keeps_what_is_done(lens, tmp_path, painted) -> None:
    class Stops(Bright):
        def judge(self, images, prompt):
            if images and prompt == PROMPTS[1]:
                raise KeyboardInterrupt
            return super().judge(images, prompt)

    with pytest.raises(KeyboardInterrupt):
        sweep(lens, PROMPTS, judge=Stops(), out=tmp_path, **QUICK)
    left = Sweep.load(tmp_path)
    assert left.failures == {(PROMPTS[1], 0): "not generated yet"}
    assert not (tmp_path / "claims").exists()
    del painted[:]
    sweep(lens, PROMPTS, judge=Stops.__mro__[1](), out=tmp_path, **QUICK)
    assert painted == [(PROMPTS[1], 0)]


# two sweeps on one folder


def test_two_sweeps_on_one_folder_do_each_run_once(tmp_path) -> None:
    lenses = [small_lens(), small_lens()]
    forwards: list[int] = []
    for each in lenses:
        each.pipe.unet.register_forward_pre_hook(lambda *_: forwards.append(1))
    results: list[Sweep] = []
    prompts = [f"a red circle {number}" for number in range(6)]
    threads = [
        threading.Thread(target=lambda each=each: results.append(sweep(each, prompts, out=tmp_path, **QUICK)))
        for each in lenses
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [result.failures for result in results] == [{}, {}]
    assert 6 <= len(forwards) <= 12  # of one process, so the claims are its own
    assert len(list((tmp_path / "runs").glob("*.lens"))) == 6
    assert not list(tmp_path.rglob("*.part"))


def test_a_claim_of_a_living_process_counts_and_one_of_a_dead_process_does_not(tmp_path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claims = Claims(tmp_path)
    mark = tmp_path / "claims" / "one"
    mark.write_text(json.dumps({**claims._me, "pid": other.pid}))
    assert not claims.take("one")
    other.kill()
    other.wait()
    assert claims.take("one")
    mark.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert not Claims(tmp_path).take("one")
    os.utime(mark, (1, 1))
    assert Claims(tmp_path).take("one")
    mark.write_text("damaged")
    os.utime(mark, (1, 1))
    assert Claims(tmp_path).take("one")


# other processes


def test_a_lens_that_cannot_be_loaded_elsewhere_is_refused_before_anything_runs(lens, tmp_path) -> None:
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as executor,
        pytest.raises(ValueError, match="give a function that returns the lens in place of it"),
    ):
        sweep(lens, PROMPTS, executor=executor, out=tmp_path, **QUICK)


@pytest.mark.slow
def test_processes_give_what_this_process_gives_and_a_dead_worker_loses_nothing(tmp_path) -> None:
    lens = DiffusionLens.from_pretrained(device="cpu")
    options = {"num_inference_steps": 2, "layers": [0, 12]}
    make = partial(ProcessPoolExecutor, 2, get_context("spawn"))
    here = sweep(lens, PROMPTS, seeds=range(4), out=tmp_path / "here", **options)
    killed = []

    def kill() -> None:
        deadline = 200
        while deadline and not list((tmp_path / "there" / "runs").glob("*.lens")):
            threading.Event().wait(0.2)
            deadline -= 1
        for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for pid in child.read_text().split():
                if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text() and not killed:
                    killed.append(pid)
                    os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    there = sweep(lens, PROMPTS, seeds=range(4), executor=make, out=tmp_path / "there", **options)
    killer.join()
    assert killed
    assert there.failures == {}
    for prompt in PROMPTS:
        a, b = here.run(prompt, 2), there.run(prompt, 2)
        difference = np.abs(np.asarray(a.images[12], int) - np.asarray(b.images[12], int)).max()
        assert difference <= 1  # they may have other numbers of threads


@pytest.mark.slow
def test_dask(tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    lens = DiffusionLens.from_pretrained(device="cpu")
    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**workers) as cluster, distributed.Client(cluster) as client:
        options = {"num_inference_steps": 2, "layers": [12], "executor": client.get_executor()}
        result = sweep(lens, PROMPTS, seeds=range(2), out=tmp_path, **options)
    assert result.failures == {}
    assert len(list((tmp_path / "runs").iterdir())) == 4


@pytest.mark.slow
def test_workers_with_other_weights_say_so(tmp_path) -> None:
    lens = DiffusionLens.from_pretrained(device="cpu")
    lens.pipe.unet.conv_in.weight.data.mul_(1.1)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        result = sweep(lens, PROMPTS[:1], executor=executor, retries=0, out=tmp_path, num_inference_steps=1)
    assert "a worker loads other weights" in result.failures[PROMPTS[0], 0]


# bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompts": "a dog"}, TypeError, r"prompts: expected several, such as \['a dog'\]"),
        ({"prompts": []}, ValueError, "prompts: empty"),
        ({"prompts": ["a", 3]}, TypeError, "prompts: expected str, got int"),
        ({"seeds": 3}, TypeError, r"seeds: expected several, such as range\(3\)"),
        ({"seeds": [1, 1]}, ValueError, "seeds: expected different ones"),
        ({"seeds": [-1]}, ValueError, "seed"),
        ({"layers": [9]}, ValueError, r"layers: 9 is outside 0\.\.4"),
        ({"seed": 3}, TypeError, r"seed: a sweep takes none; give seeds=\[...\]"),
        ({"on_step": print}, TypeError, "on_step: a sweep takes none"),
        ({"executor": 4}, TypeError, "executor: expected a concurrent.futures.Executor"),
        ({"executor": dict}, TypeError, "executor: the function returned"),
        ({"retries": -1}, ValueError, "retries: -1 must be at least 0"),
        ({"lens": 4}, TypeError, "lens: expected a DiffusionLens, or a function"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps: 0 must be at least 1"),
        ({"setps": 3}, TypeError, "setps"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_anything_is_computed(lens, tmp_path, painted, arguments, error, message):
    arguments = {"lens": lens, "prompts": PROMPTS, "out": tmp_path / "new", **QUICK, **arguments}
    with pytest.raises(error, match=message):
        sweep(arguments.pop("lens"), arguments.pop("prompts"), **arguments)
    assert painted == []
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file(lens, tmp_path, painted) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OSError, match="out"):
        sweep(lens, PROMPTS, out=tmp_path / "out", **QUICK)
    assert painted == []


@pytest.mark.parametrize("content", ["{", "{}", '{"sweep_schema": 9}', "[]"], ids=str)
def test_a_description_that_is_damaged(tmp_path, content) -> None:
    with pytest.raises(FileNotFoundError):
        Sweep.load(tmp_path)
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"sweep\.json: "):
        Sweep.load(tmp_path)


def test_a_prompt_file(tmp_path, capsys) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffa dog\r\n\r\n  a cat  \na dog\n\n".encode())
    assert read_prompts(file) == ["a dog", "a cat"]
    assert "1 lines occur before" in capsys.readouterr().err
    file.write_text("\n  \n")
    with pytest.raises(ValueError, match="holds no prompt"):
        read_prompts(file)
    file.write_bytes(b"\xff\xfe\x00d")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_prompts(file)
    file.write_text("".join(f"a dog {number}\n" for number in range(10_000)))
    assert len(read_prompts(file)) == 10_000


def test_ten_thousand_prompts_that_are_done_take_seconds(lens, tmp_path, painted, monkeypatch, caplog) -> None:
    """The files of all units are there: what is left is to find that out."""
    caplog.set_level(logging.ERROR)
    prompts = [f"a dog {number}" for number in range(10_000)]
    monkeypatch.setattr(UnitFiles, "read", lambda self, unit: {"rows": [], "judge": "", "seconds": 1.0})
    result = sweep(lens, prompts, out=tmp_path, **QUICK)
    assert painted == []
    assert len(result.prompts) == 10_000


def test_the_command(tmp_path, capsys) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a red circle\n\na blue dog\n")
    arguments = ["sweep", str(file), "--layers", "12", "--steps", "1", "--judge", "scene", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    *table, folder = capsys.readouterr().out.strip().split("\n")
    assert folder == str((tmp_path / "out").resolve())
    right, low, high = 100 * Sweep.load(tmp_path / "out").shares()[0]
    assert table == ["layer  right, and its 95 % interval", f"   12  {right:.0f} % ({low:.0f} to {high:.0f})"]
    assert (tmp_path / "out" / "plot.png").is_file()
    assert len(Sweep.load(tmp_path / "out").prompts) == 2
    assert main(["sweep", str(tmp_path / "none.txt"), "--out", str(tmp_path / "o")]) == 2
    assert "none.txt" in capsys.readouterr().err


def test_the_command_without_the_extra(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    file = tmp_path / "prompts.txt"
    file.write_text("a red circle\n")
    assert main(["sweep", str(file), "--layers", "6,12", "--steps", "1", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert 'measures.parquet was not written: it needs pyarrow, pip install "difflens_widgets[sweep]"' in said.err
    table = said.out.split("\n")
    assert table[0] == "layer  SSIM to the last layer, and its 95 % interval"
    assert table[2] == "   12  1.000"
    assert not (tmp_path / "out" / "measures.parquet").exists()
