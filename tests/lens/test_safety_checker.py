"""What the pipeline's safety checker blacks out is black everywhere, and the record, the file and the page say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from difflens_widgets import Comparison, DiffusionLens, DiffViewer, LensRun, StableDiffusionGlassPipeline
from difflens_widgets.analysis.emergence import emergence
from difflens_widgets.dreambooth.history.training_drift import training_drift
from difflens_widgets.runs.events import LayerImage, Preview, Snapshot
from difflens_widgets.runs.render.front_end import static_state
from safety import checked_pipeline, cosine_of, flag_above

PROMPT = "a red circle"
OPTIONS: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "snapshots": [0, 2]}


def is_black(image: Image.Image) -> bool:
    return not np.asarray(image).any()


@pytest.fixture(scope="module")
def run_and_flagged() -> tuple[LensRun, int, list[Any]]:
    """A run of which the safety checker flags one finished image, and nothing else."""
    lens = DiffusionLens(checked_pipeline(), batch_size=3)
    clean = lens(PROMPT, **OPTIONS)
    assert not clean.flagged
    assert not any(map(is_black, clean.images.values()))
    checker = lens.pipe.safety_checker
    cosines = {layer: cosine_of(checker, image) for layer, image in clean.images.items()}
    layer, most = max(cosines.items(), key=lambda item: item[1])
    rest = [cosine for other, cosine in cosines.items() if other != layer]
    flag_above(checker, (most + max(rest)) / 2)
    job = lens._jobs(PROMPT, **OPTIONS)[0]
    heard: list[Any] = []
    job.subscribe(heard.append)
    return job.wait(), layer, heard


def test_the_picture_and_all_its_snapshots_are_black(run_and_flagged) -> None:
    run, layer, _ = run_and_flagged
    assert run.flagged == {layer}
    assert [each for each, image in run.images.items() if is_black(image)] == [layer]
    assert {(layer, 0), (layer, 2)} <= run.flagged_snapshots
    for key, image in run.snapshots.items():
        assert is_black(image) == (key in run.flagged_snapshots), key
    assert len(run.snapshots) == 2 * len(run.layers)


def test_a_snapshot_is_told_only_after_the_last_word(run_and_flagged) -> None:
    _, layer, heard = run_and_flagged
    snapshots = [event for event in heard if isinstance(event, Snapshot) and event.layer == layer]
    assert [event.step for event in snapshots] == [0, 2]
    assert all(event.flagged and is_black(event.image) for event in snapshots)
    [picture] = [event for event in heard if isinstance(event, LayerImage) and event.layer == layer]
    assert picture.flagged


def test_previews_are_checked_too() -> None:
    lens = DiffusionLens(checked_pipeline(), batch_size=2)
    flag_above(lens.pipe.safety_checker, -2)
    job = lens._jobs(PROMPT, layers=[0, 4], **OPTIONS)[0]
    previews: list[Preview] = []
    job.subscribe(lambda event: previews.append(event) if isinstance(event, Preview) else None)
    run = job.wait()
    assert previews
    assert all(is_black(event.image) for event in previews)
    assert run.flagged == {0, 4}


def test_images_of_single_tokens() -> None:
    lens = DiffusionLens(checked_pipeline(), batch_size=2)
    flag_above(lens.pipe.safety_checker, -2)
    run = lens(PROMPT, layers=[4], keep_tokens=["red"], num_inference_steps=1)
    assert run.flagged_tokens == set(run.token_images) == {(4, 2)}
    assert is_black(run.token_images[4, 2])


def test_the_file_and_the_page_know(run_and_flagged, tmp_path) -> None:
    run, layer, _ = run_and_flagged
    again = LensRun.load(run.save(tmp_path / "a.lens"))
    assert (again.flagged, again.flagged_snapshots, again.flagged_tokens) == ({layer}, run.flagged_snapshots, set())
    page = again.to_html(tmp_path / "a.html").read_text("utf-8")
    assert f"layer {layer}, blacked out by the safety checker</figcaption>" in page
    assert static_state(again)["notice"] == f"blacked out by the safety checker: layer {layer}"


def test_a_comparison_is_not_made_of_what_is_hidden(run_and_flagged) -> None:
    run, layer, _ = run_and_flagged
    found = Comparison(run, run)
    at = found.layers.index(layer)
    for name in ("ssim", "latent_rms"):
        assert np.flatnonzero(np.isnan(found.metrics[name])).tolist() == [at], name
    assert found.metrics["state_cosine"][at] == 1  # no picture is behind it
    assert found.not_comparable == {layer: "not comparable: blacked out by the safety checker in raw and tuned"}
    with pytest.raises(ValueError, match="blacked out by the safety checker"):
        found.difference(layer)
    viewer = DiffViewer(found)
    assert "blacked out by the safety checker" in viewer.notice
    viewer.close()
    drift = training_drift(run, run)
    assert np.flatnonzero(np.isnan(drift["ssim_distance"])).tolist() == [at]
    assert np.isnan(drift["latent_rms"][at])


def test_a_judge_does_not_see_it(run_and_flagged) -> None:
    run, layer, _ = run_and_flagged

    class Judge:
        def judge(self, images: list[Image.Image], prompt: str) -> list[bool]:
            assert not any(map(is_black, images))
            return [True] * len(images)

    assert emergence(run, Judge()).verdicts == {each: each != layer for each in sorted(run.layers)}


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_the_glass_pipeline(output_type) -> None:
    pipe = checked_pipeline()
    glass = StableDiffusionGlassPipeline(**pipe.components)
    flag_above(glass.safety_checker, -2)
    output = glass(PROMPT, num_inference_steps=1, output_type=output_type)
    for pictures in output:
        assert not np.asarray(pictures[0]).any()
    assert len(output) == len(output.layers)
