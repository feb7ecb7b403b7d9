"""`batch_size="auto"`: measured once, kept for good, and never in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, compare
from difflens_widgets.lens import measured_batch
from difflens_widgets.lens.measured_batch import FILE
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle on a blue background"
QUICK: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 2.0}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, in a process that has measured nothing."""
    monkeypatch.setattr(measured_batch, "_MEASURED", {})
    monkeypatch.setattr(measured_batch, "user_cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def rows_of(pipe: Any) -> list[int]:
    rows: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0]) // 2))
    return rows


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process."""
    monkeypatch.setattr(measured_batch, "_MEASURED", {})


def test_it_is_measured_once_for_good(folder, monkeypatch) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")
    rows = rows_of(lens.pipe)
    first = lens(PROMPT, **QUICK)
    assert set(rows) >= {1, 2}  # tried
    size = first.settings["batch_size"]
    assert list(json.loads((folder / FILE).read_text("utf-8")).values()) == [size]
    forget(monkeypatch)
    rows.clear()
    again = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")
    rows = rows_of(again.pipe)
    run = again(PROMPT, **QUICK)
    assert set(rows) == {run.settings["rows_per_call"]}
    assert run.settings["batch_size"] == size
    assert run.images[2].tobytes() == first.images[2].tobytes()


def test_what_is_kept_is_used_and_each_size_model_and_guidance_has_its_own(folder, monkeypatch) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")
    lens(PROMPT, layers=[0], **QUICK)
    path = folder / FILE
    (key,) = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({key: 4}), "utf-8")
    forget(monkeypatch)
    assert lens(PROMPT, layers=[0], **QUICK).settings["batch_size"] == 4
    lens(PROMPT, layers=[0], height=16, width=16, **QUICK)
    lens(PROMPT, layers=[0], **{**QUICK, "guidance_scale": 1.0})
    DiffusionLens(small_sdxl_pipeline(DDIMScheduler), batch_size="auto")(PROMPT, layers=[0], **QUICK)
    kept = json.loads(path.read_text("utf-8"))
    assert len(kept) == 4
    assert kept[key] == 4


def test_the_largest_that_gains_something_is_taken() -> None:
    def size_for(seconds: dict[int, float | None]) -> int | None:
        return measured_batch._measure(lambda size: seconds[size])

    assert size_for({1: 1.0, 2: 1.2, 4: 2.0, 7: 3.0, 13: 5.2, 26: 10.4}) == 13
    assert size_for({1: 1.0, 2: 1.98}) == 1  # a gain of 1 % is none
    assert size_for({1: 1.0, 2: 1.2, 4: None}) == 2  # no more memory
    assert size_for({1: None}) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.write_text("a file where the folder should be"),
        lambda folder: (folder / FILE).mkdir(parents=True),
        lambda folder: (folder.mkdir(), (folder / FILE).write_text("{damaged")),
        lambda folder: (folder.mkdir(), (folder / FILE).write_text('["another version"]')),
    ],
    ids=["no folder", "no file", "damaged", "other"],
)
def test_a_folder_that_cannot_be_used_is_no_error(folder, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")
    rows = rows_of(lens.pipe)
    run = lens(PROMPT, layers=[0, 1], **QUICK)
    assert run.status == "done"
    measured = len(rows)
    assert lens(PROMPT, layers=[0, 1], **QUICK).settings["batch_size"] == run.settings["batch_size"]
    assert len(rows) - measured <= 2 * 2  # not again in this process


def test_memory_that_runs_out_while_measuring_ends_the_measurement() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")

    def limited(_: Any, args: Any) -> None:
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    lens.pipe.unet.register_forward_pre_hook(limited)
    run = lens(PROMPT, **QUICK)
    assert (run.status, run.settings["batch_size"]) == ("done", 1)


def test_nothing_of_the_measurement_is_in_the_run() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size="auto")
    steps: list[tuple[int, int]] = []
    run = lens(PROMPT, layers=[4], snapshots=[0], attention=True, on_step=lambda *at: steps.append(at[:2]), **QUICK)
    assert steps == [(4, 0), (4, 1)]
    assert list(run.snapshots) == [(4, 0)]
    assert not lens.pipe.unet._forward_hooks
    assert not lens.pipe.unet._forward_pre_hooks


def test_compared_models_share_one_measurement() -> None:
    raw, tuned = (DiffusionLens(small_pipeline(DDIMScheduler, seed=seed), batch_size="auto") for seed in (0, 1))
    found = compare(raw, tuned, PROMPT, layers=[0, 4], **QUICK)
    assert len({run.settings["batch_size"] for run in found.runs.values()}) == 1


def test_other_words_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size: expected a whole number, or \"auto\", got 'best'"):
        DiffusionLens(small_pipeline(DDIMScheduler), batch_size="best")
