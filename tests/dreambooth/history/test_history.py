"""TrainingHistory: what is recorded is there again, whatever happened; what is damaged is refused by name."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from difflens_widgets.dreambooth.history.events import (
    Alarm,
    EpochValidated,
    LossLogged,
    TrainingProgress,
    ValidationPrompt,
)
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.runs.events import Done, Message
from drawn_runs import assert_same, drawn_run

PROMPTS = (
    ValidationPrompt("a photo of xon dog", "instance"),
    ValidationPrompt("a photo of a dog", "class"),
    ValidationPrompt("a red circle", "control"),
)


def begin(folder, **changes):
    about = {"config": {"steps": 8, "note": "ä"}, "model": "tiny", "model_hash": "00ff", "validation_prompts": PROMPTS}
    return TrainingHistory.create(folder, **{**about, **changes})


def run_of(prompt, epoch=0, depth=3):
    return drawn_run(PROMPTS[prompt].prompt, depth, seed=10 * epoch + prompt, snapshots={})


def logged(step, epoch=1, loss=0.5, **more):
    return LossLogged(step, epoch, {"loss": loss, "learning_rate": 1e-4, **more})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "training"


@pytest.fixture
def history(folder):
    """Four steps, epochs 0 and 2 with all prompts, epoch 4 with one."""
    history = begin(folder)
    for epoch in (0, 2):
        for prompt in range(3):
            history.record(EpochValidated(epoch, prompt, run_of(prompt, epoch)))
    history.record(EpochValidated(4, 0, run_of(0, 4)))
    for step in range(1, 5):
        history.record(logged(step, (step + 1) // 2, 1 / step, prior_loss=0.1 * step))
    return history


def test_what_is_recorded_is_there_again(history, folder):
    history.record(Done("done"))
    again = TrainingHistory.load(folder)
    assert (again.config, again.model, again.model_hash) == ({"steps": 8, "note": "ä"}, "tiny", "00ff")
    assert (again.validation_prompts, again.status, again.message) == (PROMPTS, "done", "")
    assert again.epochs == history.epochs == (0, 2, 4)
    assert {name: array.tolist() for name, array in again.losses.items()} == {
        "step": [1, 2, 3, 4],
        "epoch": [1, 1, 2, 2],
        "loss": [1, 1 / 2, 1 / 3, 1 / 4],
        "learning_rate": [1e-4] * 4,
        "prior_loss": [0.1, 0.2, 0.1 * 3, 0.4],
    }
    assert again.losses["step"].dtype == np.int64
    assert_same(again.run(2, 1), run_of(1, 2))
    assert list(again.runs) == [0, 2, 4]
    assert list(again.runs[2]) == [prompt.prompt for prompt in PROMPTS]
    assert list(again.runs[4]) == [PROMPTS[0].prompt]
    assert (again.has(4, 0), again.has(4, 1), len(again.runs), 3 in again.runs) == (True, False, 3, False)
    assert "3 epochs validated, done" in repr(again)


def test_it_is_on_disk_as_soon_as_it_is_recorded(history, folder):
    again = TrainingHistory.load(folder)  # no Done was recorded: as after kill -9
    assert (again.status, again.epochs, len(again.losses["step"])) == ("stopped", (0, 2, 4), 4)
    assert "broken off" in again.message
    assert history.status == "running"
    assert json.loads((folder / "status.json").read_text())["status"] == "running"  # reading changes nothing


def test_runs_are_read_when_they_are_asked_for(history, folder):
    for file in folder.glob("epochs/*/*.lens"):
        file.write_bytes(b"broken")
    again = TrainingHistory.load(folder)
    assert again.epochs == (0, 2, 4)
    with pytest.raises(ValueError, match=r"prompt_00\.lens.*not a zip"):
        again.run(2)


def test_it_reads_without_torch(history, folder):
    code = f"""
import sys
sys.modules["torch"] = None
from difflens_widgets.dreambooth.history.history import TrainingHistory
history = TrainingHistory.load({str(folder)!r})
assert history.run(2, 1).images and history.training_drift()["ssim_distance"].shape == (3, 3)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_events_are_passed_over(history):
    assert history.record(TrainingProgress(1, 2, 1, 1, "training", None)) == []
    assert history.record(Message("a word")) == []


def test_numbers_that_are_not_finite(folder):
    history = begin(folder)
    history.record(logged(1, loss=math.nan))
    assert "null" in (folder / "losses.jsonl").read_text()
    assert math.isnan(TrainingHistory.load(folder).losses["loss"][0])


# -- killed, resumed


def test_half_a_last_line_is_left_out_and_then_cut_off(history, folder):
    file = folder / "losses.jsonl"
    file.write_bytes(file.read_bytes() + b'{"step": 5, "epo')
    again = TrainingHistory.load(folder)
    assert again.losses["step"].tolist() == [1, 2, 3, 4]
    again.record(logged(5, 3))
    assert TrainingHistory.load(folder).losses["step"].tolist() == [1, 2, 3, 4, 5]


def test_resuming_forgets_what_comes_again(history, folder):
    (history.weights_folder(4)).mkdir()
    resumed = TrainingHistory.load(folder)
    resumed.alarms = [Alarm("drift", 2, 1, 2, "stays"), Alarm("drift", 4, 0, 1, "goes")]
    resumed.truncate(step=3, epoch=2)
    for each in (resumed, TrainingHistory.load(folder)):
        assert each.losses["step"].tolist() == [1, 2, 3]
        assert each.epochs == (0, 2)
        assert [alarm.message for alarm in each.alarms] == ["stays"]
    assert resumed.status == "running"
    assert not (folder / "epochs" / "000004").exists()
    resumed.record(logged(4, 2))
    resumed.record(EpochValidated(4, 0, run_of(0, 4)))
    resumed.record(Done("stopped", "by hand"))
    again = TrainingHistory.load(folder)
    assert (again.epochs, again.status, again.message) == ((0, 2, 4), "stopped", "by hand")


def test_a_folder_takes_one_training_only(history, folder):
    with pytest.raises(ValueError, match="holds a training already"):
        begin(folder)
    assert TrainingHistory.load(folder).epochs == (0, 2, 4)


def test_a_folder_with_other_files_may_become_a_training(folder):
    folder.mkdir()
    (folder / "class_000.png").write_bytes(b"")
    assert begin(folder).epochs == ()


# -- what does not fit


def test_steps_follow_one_another(history):
    with pytest.raises(ValueError, match="step: 4 was logged already"):
        history.record(logged(4))
    with pytest.raises(ValueError, match="has no 'loss'"):
        history.record(LossLogged(5, 3, {"learning_rate": 1}))


@pytest.mark.parametrize(
    ("epoch", "prompt", "run", "reason"),
    [
        (6, 1, run_of(0), "run: has the prompt 'a photo of xon dog', but validation prompt 1 is 'a photo of a dog'"),
        (6, 3, run_of(0), "validation_prompt: 3 is wrong, it must be from 0 to 2"),
        (-1, 0, run_of(0), "epoch: -1 is wrong"),
        (6, 0, run_of(0, depth=2), r"run: has the layers \(0, 1\)"),
    ],
)
def test_runs_that_do_not_belong_there(history, folder, epoch, prompt, run, reason):
    with pytest.raises(ValueError, match=reason):
        history.record(EpochValidated(epoch, prompt, run))
    assert TrainingHistory.load(folder).epochs == (0, 2, 4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"validation_prompts": ()}, "validation_prompts: 0 were given"),
        ({"validation_prompts": (PROMPTS[0], PROMPTS[0])}, "twice"),
        ({"config": {"a": object()}}, r"config\['a'\]"),
    ],
)
def test_what_cannot_begin(folder, changes, reason):
    with pytest.raises(ValueError, match=reason):
        begin(folder, **changes)
    begin(folder)  # nothing was left behind


@pytest.mark.parametrize(("epoch", "prompt"), [(1, 0), (4, 1)])
def test_what_was_not_validated(history, epoch, prompt):
    with pytest.raises(ValueError, match=f"there is no run of .* at epoch {epoch}"):
        history.run(epoch, prompt)
    with pytest.raises(ValueError, match="validation_prompt: 9"):
        history.run(0, 9)
    with pytest.raises(KeyError):
        history.runs[1]


def test_the_weights_were_not_kept(history):
    with pytest.raises(ValueError, match="weights of epoch 2 were not kept; there are those of none"):
        history.lens(2)


def test_a_full_disk_leaves_the_losses_as_they_were(history, folder, monkeypatch):
    before = (folder / "losses.jsonl").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("difflens_widgets.dreambooth.history.files._cut_half_line", full)
    with pytest.raises(OSError, match=r"cannot log step 5.*No space left.*losses\.jsonl"):
        history.record(logged(5))
    assert (folder / "losses.jsonl").read_bytes() == before
    assert history.losses["step"].tolist() == [1, 2, 3, 4]


# -- damaged


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("training.json", "{", r"training\.json is not valid JSON"),
        ("training.json", "[]", r"training\.json is a list"),
        ("training.json", '{"format": "x"}', r"training\.json: describes no training"),
        ("training.json", '{"format": "difflens-training", "version": [3, 0]}', r"version 3\.0.*newer"),
        (
            "training.json",
            '{"format": "difflens-training", "version": [1, 0], "config": {}}',
            r"training\.json: 'model'",
        ),
        ("status.json", '{"status": "odd"}', r"status\.json: 'status' is \"odd\""),
        ("alarms.json", '{"alarms": [{"kind": 3}]}', r"alarms\.json: 'alarms' number 0: 'kind' is 3"),
        ("losses.jsonl", '{"step": 1, "epoch": 1}\n', r"losses\.jsonl: line 1: 'loss' is missing"),
        ("losses.jsonl", '{"step": 1, "epoch": 1, "loss": "a"}\n', r"line 1: 'loss' is str"),
        ("losses.jsonl", '{"step": 0, "epoch": 1, "loss": 1}\n', r"line 1: 'step' is 0"),
        ("losses.jsonl", '{"step": 2, "epoch": 1, "loss": 1}\n' * 2, r"line 2: step 2 does not follow step 2"),
        ("losses.jsonl", 'half a\n{"step": 2, "epoch": 1, "loss": 1}\n', r"losses\.jsonl: line 1 is not valid JSON"),
    ],
)
def test_a_damaged_file_is_named(history, folder, name, content, reason):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=reason):
        TrainingHistory.load(folder)


def test_what_is_no_training(tmp_path):
    with pytest.raises(ValueError, match=r"holds no training: there is no training\.json"):
        TrainingHistory.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        TrainingHistory.load(tmp_path / "nowhere")


def test_a_run_of_another_prompt_under_a_prompts_name(history, folder):
    run_of(1).save(folder / "epochs" / "000002" / "prompt_00.lens")
    with pytest.raises(ValueError, match=r"prompt_00\.lens: has the prompt 'a photo of a dog'"):
        TrainingHistory.load(folder).run(2)


def test_strange_names_in_the_folder_are_left_alone(history, folder):
    for name in ("epochs/2", "epochs/0000002", "epochs/.000003-x.part", "epochs/notes", "epochs/000008", "checkpoints"):
        (folder / name).mkdir()
    run_of(0).save(folder / "epochs" / "000008" / "prompt_03.lens")
    run_of(0).save(folder / "epochs" / "2" / "prompt_00.lens")
    assert TrainingHistory.load(folder).epochs == (0, 2, 4)


# -- one zip


def test_a_zip_holds_it_all(history, folder, tmp_path):
    weights = history.weights_folder(2) / "unet"
    weights.mkdir(parents=True)
    (weights / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"w")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "optimizer.safetensors").write_bytes(b"left out")
    history.record(Done("done"))
    path = history.save(tmp_path / "all.zip")
    again = TrainingHistory.load(path, tmp_path / "unpacked")
    assert again.folder == tmp_path / "unpacked"
    assert (again.status, again.epochs, again.losses["step"].tolist()) == ("done", (0, 2, 4), [1, 2, 3, 4])
    assert_same(again.run(4), run_of(0, 4))
    assert (again.weights_folder(2) / "unet" / "diffusion_pytorch_model.fp16.safetensors").read_bytes() == b"w"
    assert not (again.folder / "checkpoints").exists()

    light = TrainingHistory.load(history.save(tmp_path / "light.zip", weights=False))
    assert_same(light.run(2, 1), run_of(1, 2))
    assert not light.weights_folder(2).exists()
    temporary = light.folder
    assert temporary.is_dir()
    del light
    gc.collect()
    assert not temporary.parent.exists()
    with pytest.raises(ValueError, match="give a new or empty one"):
        TrainingHistory.load(path, tmp_path)
    with pytest.raises(ValueError, match="is for unpacking a zip"):
        TrainingHistory.load(folder, tmp_path / "x")


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.json", "/training.json", "epochs/../../x/prompt_00.lens", "epochs/000001/weights/../../x.json"),
        *("epochs/000001/weights/model.pt", "epochs/000001/weights/.hidden.json", "run.sh", "epochs/1/prompt_00.lens"),
        "epochs/000001/weights/a/b/c/d/e.json",
    ],
)
def test_a_hostile_name_in_a_zip_unpacks_nothing(history, tmp_path, name):
    path = history.save(tmp_path / "all.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(ValueError, match="has a name that a training history never has"):
        TrainingHistory.load(path, tmp_path / "unpacked")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.zip", "training"]


def test_a_broken_zip(history, tmp_path):
    path = history.save(tmp_path / "all.zip")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"all\.zip: the file is truncated"):
        TrainingHistory.load(path, tmp_path / "unpacked")
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a zip file, as every training history is"):
        TrainingHistory.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("losses.jsonl", b"")
    with pytest.raises(ValueError, match=r"'training\.json' is missing"):
        TrainingHistory.load(path, tmp_path / "unpacked")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training.json", b"{}")
    with pytest.raises(ValueError, match="describes no training"):
        TrainingHistory.load(path, tmp_path / "unpacked")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.zip", "training"]
