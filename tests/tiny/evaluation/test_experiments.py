"""The three experiments as one command, on as little training as shows something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflens_widgets import Comparison, DreamBoothConfig, TrainingHistory
from difflens_widgets.analysis.comparison.file import SWAPPED
from difflens_widgets.dreambooth.training.trainer import prepare_job
from difflens_widgets.tiny.drawing import SIZE
from difflens_widgets.tiny.evaluation import dreambooth_results as results
from difflens_widgets.tiny.evaluation.experiments import CONFIG, main
from difflens_widgets.tiny.subject import draw_subject
from drawn_runs import drawn_run, picture
from dreambooth_configs import small_config

LAYERS = [0, 12]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    config = small_config(
        folder / "unused",
        use_diffusion_lens=True,
        diffusion_lens_epochs=1,
        diffusion_lens_layers=LAYERS,
        num_inference_steps=1,
        train_batch_size=4,
        learning_rate=1e-2,
        checkpointing_steps=1,
    )
    config.to_yaml(folder / "config.yaml")
    return folder


def command(place: Path, *more: str) -> list[str]:
    fixed = ["--config", str(place / "config.yaml"), "--work", str(place / "work"), "--seeds", "1", "--steps", "1"]
    return [*fixed, "--out", str(place / "found" / "dreambooth.json"), "--trainings", "2", *more]


@pytest.fixture(scope="module")
def found(place: Path) -> dict:
    """What the command wrote, when the first training had been broken off after a step."""
    config = DreamBoothConfig.from_dict(
        {
            **DreamBoothConfig.from_yaml(place / "config.yaml").to_dict(),
            "output_dir": str(place / "work" / "seed-0"),
            "class_data_dir": str(place / "work" / "class"),
        }
    )
    job = prepare_job(config)
    job.subscribe(lambda event: job.cancel() if getattr(event, "step", 0) == 1 else None)
    assert job.start().result().status == "stopped"
    assert main(command(place)) == 0
    return json.loads((place / "found" / "dreambooth.json").read_text())


def test_the_evolution_is_that_of_the_history(place, found) -> None:
    evolution = found["layer_evolution"]
    history = TrainingHistory.load(place / "work" / "seed-0")
    assert history.status == "done"
    assert (evolution["epochs"], evolution["layers"]) == ([0, 1, 2], LAYERS)
    for number, prompt in enumerate(evolution["validation_prompts"]):
        for name, values in history.training_drift(number).items():
            np.testing.assert_allclose(prompt["training_drift"][name], values, atol=1e-5)
        assert np.shape(prompt["subject"]) == (3, 2)
    assert [prompt["role"] for prompt in evolution["validation_prompts"]] == ["instance", "class"]
    assert len(evolution["difference"]["latent_rms"]) == 1  # pairs of prompts
    assert evolution["loss"]["loss"] == pytest.approx([history.losses["loss"].mean()], abs=1e-5)
    with Image.open(place / "found" / "dreambooth.jpg") as film:
        assert film.size == history.grid().size


def test_raw_and_tuned_are_compared_by_prompt_and_seed(found) -> None:
    part = found["raw_vs_tuned"]
    assert (part["seeds"], part["layers"], part["steps"]) == ([0], LAYERS, 1)
    for values in part["measures"].values():
        assert np.shape(values) == (len(part["prompts"]), 1, 2)
    measures = {name: np.array(values, dtype=float) for name, values in part["measures"].items()}
    shares = sum(measures[f"attribution_{name}"] for name in ("encoder", "unet", "both"))
    np.testing.assert_allclose(shares, 1, atol=1e-4)
    # embeddings are not trained; the pictures of layer 0 may change all the same, by the guidance's empty prompt
    np.testing.assert_allclose(measures["state_cosine"][..., 0], 1, atol=1e-5)
    assert (measures["state_cosine"][..., 1] < 0.9999).all()
    assert {"subject/raw", "subject/tuned", "subject/tuned-raw", "subject/raw-tuned"} <= measures.keys()


def test_the_course_projects_comparison_has_one_unet_for_both(judge) -> None:
    """Where the U-Net alone has learnt, it sees nothing; and the judge is asked about each of the four."""
    raw, tuned = drawn_run(), drawn_run(images={layer: picture(layer + 100) for layer in range(13)})
    learnt = Comparison(raw, tuned, {("tuned", "raw"): raw, ("raw", "tuned"): tuned})
    measures = results.compared(learnt, judge)
    assert measures["same_unet_ssim"] == [1.0] * 13
    assert max(measures["ssim"]) < 0.9
    assert measures["subject/raw"] == measures["subject/tuned-raw"]


def test_the_judge_knows_the_subject_from_other_pictures(judge) -> None:
    subject, other = draw_subject()[0], picture(3, SIZE)
    run = drawn_run(images={0: other, 12: subject}, layers=(0, 5, 12))
    same = Comparison(run, run, dict.fromkeys(SWAPPED, run))
    assert results.compared(same, judge)["subject/tuned"] == [0, None, 1]


def test_the_cosines_are_of_every_training(place, found) -> None:
    part = found["concept_alignment"]
    assert part["trainings"] == [0, 1]
    before, after = np.array(part["before"]), np.array(part["after"])
    assert before.shape == (len(results.PAIRS), len(results.TEMPLATES), 13)
    assert after.shape == (2, *before.shape)
    assert (after[:, ..., 0] == before[..., 0]).all()  # embeddings are not trained
    assert (after[0, ..., 12] != after[1, ..., 12]).any()
    lens = TrainingHistory.load(place / "work" / "seed-1").lens(2, device="cpu")
    np.testing.assert_allclose(after[1], results.cosines(lens), atol=1e-4)


@pytest.mark.slow
def test_two_processes_find_the_same(place, found) -> None:
    elsewhere = ["--work", str(place / "elsewhere"), "--out", str(place / "elsewhere.json"), "--workers", "2"]
    assert main(command(place, *elsewhere)) == 0
    there = json.loads((place / "elsewhere.json").read_text())
    for name in ("before", "after"):
        a, b = (np.array(each["concept_alignment"][name], float) for each in (there, found))
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert there["raw_vs_tuned"]["measures"]["subject/raw"] == found["raw_vs_tuned"]["measures"]["subject/raw"]


def test_it_goes_on_where_it_was(place, found, capsys) -> None:
    kept = place / "work" / "seed-0" / "raw_vs_tuned.json"
    content = json.loads(kept.read_text())
    key = f"0 {results.COMPARED[0]}"
    content["done"][key]["ssim"] = [7.0, 7.0]
    kept.write_text(json.dumps(content))
    losses = (place / "work" / "seed-0" / "losses.jsonl").read_bytes()
    assert main(command(place, "--trainings", "1")) == 0
    again = json.loads((place / "found" / "dreambooth.json").read_text())
    assert again["raw_vs_tuned"]["measures"]["ssim"][0] == [[7.0, 7.0]]  # not computed again
    assert again["layer_evolution"] == found["layer_evolution"]
    assert (place / "work" / "seed-0" / "losses.jsonl").read_bytes() == losses
    assert main(command(place, "--trainings", "1", "--steps", "2")) == 0
    other = json.loads((place / "found" / "dreambooth.json").read_text())
    assert other["raw_vs_tuned"]["measures"]["ssim"][0] != [[7.0, 7.0]]  # with other steps it is


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trainings", "0"], "trainings: 0"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_input_is_told(place, more, message, capsys) -> None:
    assert main(command(place, *more)) == 2
    assert message in capsys.readouterr().err


def test_a_training_of_another_model_or_config_is_refused(place, found, capsys) -> None:
    told = place / "work" / "seed-0" / "training.json"
    was = told.read_text()
    try:
        content = json.loads(was)
        told.write_text(json.dumps({**content, "model_hash": "0" * len(content["model_hash"])}))
        assert main(command(place)) == 2
        assert "another model" in capsys.readouterr().err
        told.write_text(json.dumps({**content, "config": {**content["config"], "rank": 3}}))
        assert main(command(place)) == 2
        assert "rank" in capsys.readouterr().err
    finally:
        told.write_text(was)


def test_the_prompts_have_the_words_that_are_compared(lens) -> None:
    """On the shipped config: the course project's prompts are among those asked."""
    config = DreamBoothConfig.from_yaml(CONFIG)
    specific, general = results.TEMPLATES[0]
    _, words, things = results.PAIRS[0]
    assert specific.format(things[0]) == config.instance_prompt
    assert general.format(things[1]) == config.class_prompt
    assert words[0] == config.unique_identifier
    assert config.unique_identifier in results.COMPARED
    cosines = np.array(results.cosines(lens))
    assert np.isfinite(cosines).all()
    assert (np.abs(cosines) <= 1).all()
