"""A model's folder states how it is best sampled; what the caller says goes before that."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
from diffusers import DDIMScheduler, StableDiffusionPipeline

from difflens_widgets import DiffusionLens, compare
from difflens_widgets.models.sampling_defaults import FILE, SamplingDefaults, sampling_defaults, write_sampling_defaults
from pipelines import small_pipeline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_pipeline(DDIMScheduler).save_pretrained(tmp_path)
    write_sampling_defaults(tmp_path, SamplingDefaults(2, 3.0))
    return tmp_path


def test_the_lens_takes_them_unless_told_otherwise(folder) -> None:
    lens = DiffusionLens.from_pretrained(folder, device="cpu")
    run = lens("a red circle", layers=[4])
    assert (run.settings["num_inference_steps"], run.settings["guidance_scale"]) == (2, 3.0)
    run = lens("a red circle", layers=[4], num_inference_steps=1, guidance_scale=0)
    assert (run.settings["num_inference_steps"], run.settings["guidance_scale"]) == (1, 0.0)


def test_they_are_known_of_a_pipeline_that_was_loaded_by_diffusers_and_copied(folder) -> None:
    pipe = deepcopy(StableDiffusionPipeline.from_pretrained(folder))
    assert sampling_defaults(pipe) == (2, 3.0)


def test_a_model_that_states_none_has_the_usual_ones() -> None:
    assert sampling_defaults(small_pipeline(DDIMScheduler)) == (20, 7.5)


def test_a_comparison_takes_those_of_the_raw_model_for_both(folder) -> None:
    tuned = small_pipeline(DDIMScheduler)
    comparison = compare(DiffusionLens.from_pretrained(folder, device="cpu"), DiffusionLens(tuned), "a red circle")
    for run in (comparison.raw, comparison.tuned):
        assert (run.settings["num_inference_steps"], run.settings["guidance_scale"]) == (2, 3.0)


@pytest.mark.parametrize(
    "stated", ["{", "[1]", '{"steps": 3}', '{"num_inference_steps": 2.5}', '{"guidance_scale": -1}']
)
def test_a_damaged_file_is_named(folder, stated) -> None:
    (folder / FILE).write_text(stated)
    lens = DiffusionLens.from_pretrained(folder, device="cpu")
    with pytest.raises(ValueError, match=rf"{FILE}: states no sampling defaults"):
        lens("a red circle", layers=[4])
