"""quality="draft": fewer steps, and it says so everywhere."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from diffusers import DPMSolverMultistepScheduler

from difflens_widgets import DiffusionLens, LensRun, compare
from difflens_widgets.analysis.ssim import ssim
from difflens_widgets.cli.bench_draft import bench_draft
from difflens_widgets.lens.quality import steps_of
from difflens_widgets.runs.render.front_end import describe
from pipelines import small_pipeline

PROMPT = "a red circle on a blue background"


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DPMSolverMultistepScheduler))


@pytest.fixture(scope="module")
def draft(lens: DiffusionLens) -> LensRun:
    return lens(PROMPT, layers=[2, 4], num_inference_steps=10, guidance_scale=3.0, quality="draft")


def test_a_draft_is_the_image_of_fewer_steps(lens, draft) -> None:
    few = lens(PROMPT, layers=[2, 4], num_inference_steps=3, guidance_scale=3.0)
    assert all(np.array_equal(draft.latents[layer], few.latents[layer]) for layer in (2, 4))
    assert draft.settings["num_inference_steps"] == 3
    assert [steps_of("draft", steps) for steps in (1, 4, 20, 50)] == [1, 1, 6, 15]
    assert [steps_of("exact", steps) for steps in (1, 20)] == [1, 20]


def test_it_says_so_in_the_record_and_on_what_is_drawn(lens, draft, tmp_path: Path) -> None:
    exact = lens(PROMPT, layers=[4], num_inference_steps=3, guidance_scale=3.0)
    assert (draft.settings["quality"], exact.settings["quality"]) == ("draft", "exact")
    assert (draft.name_of(4), exact.name_of(4)) == ("layer 4 (draft)", "layer 4")
    assert describe(draft)["settings"]["quality"] == "draft"  # the widgets' caption has it from here
    assert (draft.caption["quality"], exact.caption["quality"]) == ("draft", "exact")

    def words(run: LensRun) -> list[str]:
        figure = run.plot()
        return [*(axes.get_title() for axes in figure.axes), *(text.get_text() for text in figure.texts)]

    assert {"layer 2 (draft)", "layer 4 (draft)"} <= set(words(draft))
    assert any(text.startswith("draft · steps 3 ·") for text in words(draft))
    assert not any("draft" in text for text in words(exact))
    loaded = LensRun.load(draft.save(tmp_path / "draft.lens"))
    assert loaded.name_of(2) == "layer 2 (draft)"
    assert draft.grid().tobytes() != _as_exact(draft).grid().tobytes()  # the label of each cell


def _as_exact(run: LensRun) -> LensRun:
    settings = {**run.settings, "quality": "exact"}
    return LensRun(run.prompt, run.tokens, run.layers, run.num_layers, run.seed, settings, images=run.images)


def test_of_an_ablation_and_a_comparison_too(lens) -> None:
    options: dict[str, Any] = {"layers": [4], "num_inference_steps": 10, "guidance_scale": 1.0, "quality": "draft"}
    assert lens.ablate(PROMPT, **options).name_of(4) == "block 4 skipped (draft)"
    found = compare(lens, lens, PROMPT, **options)
    assert {run.settings["num_inference_steps"] for run in found.runs.values()} == {3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "fast"}, "quality: 'fast' is none of 'exact', 'draft'"),
        ({"quality": None}, "quality: None is none of"),
        ({"quality": "draft", "snapshots": [6]}, r"step 6 is outside 0\.\.5.*; this draft takes 6 steps"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(lens, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        lens(PROMPT, **{"num_inference_steps": 20, **options})


def test_of_the_embedded_model_it_looks_like_the_exact_image() -> None:
    """One prompt; `difflens bench lens --draft` takes 24."""
    tiny = DiffusionLens.from_pretrained(device="cpu")
    exact, draft = (
        tiny("a photo of a red square on an orange background", layers=[12], quality=quality)
        for quality in ("exact", "draft")
    )
    assert (exact.settings["num_inference_steps"], draft.settings["num_inference_steps"]) == (20, 6)
    assert ssim(exact.images[12], draft.images[12]) >= 0.85


@pytest.mark.slow
def test_the_bench_says_both_figures() -> None:
    numbers = {row.name: median(row.values) for row in bench_draft("tiny", 20, 1) if row.values}
    assert numbers["speed-up"] >= 2.5
    assert numbers["SSIM, layer 12"] >= 0.9
