"""A training folder that version 0.1 wrote (tests/data/training-0.1): it opens, and the training resumes."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from difflens_widgets import DreamBoothConfig, TrainingHistory, train_dreambooth
from difflens_widgets.dreambooth.history.events import Alarm, ValidationPrompt
from difflens_widgets.dreambooth.history.front_end import history_state
from difflens_widgets.dreambooth.training.checkpoint import checkpoints
from difflens_widgets.dreambooth.training.tensor_files import load_tensors, save_tensors
from difflens_widgets.models.loading import load_pipeline
from difflens_widgets.models.weight_hash import weight_hash
from dreambooth_configs import save_miniature

DATA = Path(__file__).parents[2] / "data" / "training-0.1"


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "training-0.1"))


def test_it_opens(folder) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    history = TrainingHistory.load(folder)
    assert history.validation_prompts == (
        ValidationPrompt("a photo of xon dog", "instance"),
        ValidationPrompt("a photo of a dog", "class"),
        ValidationPrompt("a red circle", "control"),
        ValidationPrompt("a photo of a dog", "class", seed_offset=1),
    )
    assert (history.epochs, history.status, history.model) == ((0, 2), "stopped", "small-sd")
    assert history.losses["step"].tolist() == [1, 2, 3, 4, 5]
    assert history.losses["prior_loss"][0] == pytest.approx(1.0, abs=0.1)
    assert [(a.kind, a.epoch, a.layer, a.validation_prompt) for a in history.alarms] == [
        ("collapse", 2, 1, 1),
        ("drift", 2, 0, 2),
    ]
    assert "“a red circle” has changed" in history.alarms[1].message
    run = history.run(2)
    assert (run.prompt, sorted(run.images), run.images[0].size) == ("a photo of xon dog", [0, 1], (32, 32))
    assert (history.training_drift()["latent_rms"][1] > 0).all()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_zip_of_it_opens_and_a_widget_shows_it(folder, tmp_path) -> None:
    history = TrainingHistory.load(TrainingHistory.load(folder).save(tmp_path / "all.zip"), tmp_path / "unpacked")
    assert history.run(0).images[1].tobytes() == TrainingHistory.load(folder).run(0).images[1].tobytes()
    state = history_state(history)
    assert state["columns"] == [0, 2, 3]
    assert len(state["_frames"]) == 4


def test_its_config_opens(folder) -> None:
    config = DreamBoothConfig.from_yaml(folder / "config.yaml")
    assert config.diffusion_lens_class_seeds == 2
    assert config.all_validation_prompts == TrainingHistory.load(folder).validation_prompts
    assert DreamBoothConfig.from_dict(TrainingHistory.load(folder).config) == config
    with pytest.raises(ValueError, match="diffusion_lens_class_noises: is the same as diffusion_lens_class_seeds"):
        DreamBoothConfig.from_dict({**config.to_dict(), "diffusion_lens_class_noises": 2})


def test_it_resumes(folder, tmp_path, monkeypatch) -> None:
    """From its checkpoint; the random weights of the miniature may differ from those it was made with."""
    monkeypatch.chdir(tmp_path)  # the config has relative paths
    save_miniature(tmp_path / "small-sd")
    model_hash = weight_hash(load_pipeline("small-sd", "cpu", None)[0])
    about = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps({**about, "model_hash": model_hash}))
    packed = folder / "checkpoints" / "step-00000005.safetensors.gz"
    checkpoint = packed.with_suffix("")
    checkpoint.write_bytes(gzip.decompress(packed.read_bytes()))
    tensors, facts = load_tensors(checkpoint)
    save_tensors(tensors, {**facts, "model_hash": model_hash}, checkpoint, "a checkpoint")

    config = DreamBoothConfig.from_yaml(folder / "config.yaml")
    history = train_dreambooth(config, resume=True)
    assert (history.status, history.epochs) == ("done", (0, 2, 3))
    assert history.losses["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in checkpoints(folder / "checkpoints")] == ["step-00000006.safetensors"]
    with safe_open(checkpoints(folder / "checkpoints")[0], framework="pt") as file:
        assert {key.split("/")[0] for key in file.keys()} == {"trained", "optimizer", "average"}  # noqa: SIM118
    written = json.loads((folder / "training.json").read_text())
    assert (written["version"], written["config"]) == ([2, 0], config.to_dict())
    again = TrainingHistory.load(folder)
    assert again.run(0).images[0].size == again.run(3, 2).images[0].size == (32, 32)
    assert all(isinstance(alarm, Alarm) for alarm in again.alarms)
