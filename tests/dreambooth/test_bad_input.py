"""What cannot work is refused before anything is computed, in words; and nothing that was there is lost."""

from __future__ import annotations

import errno
import json
import shutil
import sys

import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from difflens_widgets.cli import commands as cli
from difflens_widgets.dreambooth.history.events import LossLogged
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.dreambooth.rare_tokens import rare_tokens
from difflens_widgets.dreambooth.training import tensor_files as _tensors
from difflens_widgets.dreambooth.training.checkpoint import checkpoints
from difflens_widgets.dreambooth.training.sampler import BatchSampler, RowGroup
from difflens_widgets.dreambooth.training.trainer import prepare_job, train_dreambooth
from difflens_widgets.models.loading import load_pipeline
from difflens_widgets.models.tuned import load_tuned
from difflens_widgets.runs.events import Done, Message
from dreambooth_configs import small_config
from pipelines import small_pipeline, small_sdxl_pipeline


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training that is done, of one step; its folder is copied by what would change it."""
    config = small_config(tmp_path_factory.mktemp("trained") / "out", num_train_epochs=1, train_batch_size=4)
    train_dreambooth(config)
    return config


def test_pictures(tmp_path) -> None:
    folder = tmp_path / "pictures"
    with pytest.raises(ValueError, match=r"instance_data_dir: .*: no such folder"):
        train_dreambooth(small_config(tmp_path / "out", instance_data_dir=str(folder)))
    folder.mkdir()
    with pytest.raises(ValueError, match="has no image"):
        train_dreambooth(small_config(tmp_path / "out", instance_data_dir=str(folder)))
    Image.new("RGB", (20, 20)).save(folder / "small.png")
    with pytest.raises(ValueError, match=r"small.png: 20 × 20 pixels are too few"):
        train_dreambooth(small_config(tmp_path / "out", instance_data_dir=str(folder)))
    (folder / "small.png").write_bytes(b"no picture")
    classes = {"class_data_dir": str(folder), "with_prior_preservation": True}
    for config in (
        small_config(tmp_path / "out", instance_data_dir=str(folder)),
        small_config(tmp_path / "out", **classes),
    ):
        with pytest.raises(ValueError, match=r"small.png: cannot be read as an image"):
            train_dreambooth(config)
    assert not (tmp_path / "out").exists()


def test_models(tmp_path) -> None:
    small_sdxl_pipeline(DDIMScheduler).save_pretrained(tmp_path / "sdxl")
    with pytest.raises(ValueError, match=r"is a StableDiffusionXLPipeline; this training supports SD 1.x and 2.x"):
        train_dreambooth(small_config(tmp_path / "out", pretrained_model_name_or_path=str(tmp_path / "sdxl")))
    pipe = small_pipeline(DDIMScheduler)
    pipe.scheduler.register_to_config(prediction_type="sample")
    pipe.save_pretrained(tmp_path / "sample")
    with pytest.raises(
        ValueError, match="the model's prediction type is 'sample', this training supports epsilon and v"
    ):
        train_dreambooth(small_config(tmp_path / "out", pretrained_model_name_or_path=str(tmp_path / "sample")))
    with pytest.raises(ValueError, match="mixed_precision: 'fp16' does not work here"):
        train_dreambooth(small_config(tmp_path / "out", mixed_precision="fp16"))
    assert not (tmp_path / "out").exists()


def test_what_is_not_installed(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="use_8bit_adam: bitsandbytes is not installed"):
        train_dreambooth(small_config(tmp_path / "out", use_8bit_adam=True))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"use_lora: peft is not installed: pip install .difflens_widgets\[train\]"):
        train_dreambooth(small_config(tmp_path / "out"))


def test_an_identifier_of_several_tokens_is_said_and_others_suggested(tmp_path) -> None:
    config = small_config(
        tmp_path / "out",
        instance_prompt="a photo of qzxv dog",
        unique_identifier="qzxv",
        num_train_epochs=1,
        train_batch_size=4,
    )
    job = prepare_job(config)
    messages = []
    job.subscribe(lambda event: messages.append(event.message) if isinstance(event, Message) else None)
    job.start().result()
    assert len(messages) == 1
    assert messages[0].startswith("unique_identifier: 'qzxv' is not one token but 4 (q + z + x + v)")
    assert "xon" in messages[0]
    assert "sks" in messages[0]


def test_rare_tokens_are_single_rare_and_unlike_the_class() -> None:
    pipe, _ = load_pipeline("tiny", "cpu", torch.float32)
    found = rare_tokens(pipe, "dog", 20)
    assert {"xon", "sks"} <= {token.text for token in found}
    assert all(len(pipe.tokenizer(token.text, add_special_tokens=False).input_ids) == 1 for token in found)
    assert all(token.rarity >= 0.95 for token in found)
    assert "dog" not in {token.text for token in found}
    likeness = [token.similarity for token in found]
    assert likeness == sorted(likeness)
    assert len(rare_tokens(pipe, "dog", 2)) == 2


# going on with a training


def test_there_is_one_already_or_there_is_none(tmp_path, trained) -> None:
    with pytest.raises(ValueError, match=r"output_dir: .* holds a training already; resume it"):
        train_dreambooth(trained)
    with pytest.raises(ValueError, match=r"output_dir: .* holds no training to resume"):
        train_dreambooth(small_config(tmp_path / "nothing"), resume=True)


def test_other_settings_another_model_a_damaged_checkpoint(tmp_path, trained) -> None:
    folder = shutil.copytree(trained.output_dir, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    same = {"num_train_epochs": 1, "train_batch_size": 4}
    with pytest.raises(ValueError, match=r"learning_rate: 0.5 is not what this training began with, 0.0001"):
        train_dreambooth(small_config(folder, **same, learning_rate=0.5), resume=True)

    config = small_config(folder, **same)
    facts = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps({**facts, "model_hash": "0" * 16}))
    with pytest.raises(ValueError, match="holds a training of another model: its weights had the hash 0000"):
        train_dreambooth(config, resume=True)
    (folder / "training.json").write_bytes(before[folder / "training.json"])
    assert all(path.read_bytes() == content for path, content in before.items())

    checkpoint = checkpoints(folder / "checkpoints")[0]
    tensors, facts = _tensors.load_tensors(checkpoint)
    _tensors.save_tensors(tensors, {**facts, "model_hash": "f" * 16}, checkpoint, "a checkpoint")
    with pytest.raises(ValueError, match=r"step-00000001.safetensors: belongs to another model"):
        train_dreambooth(config, resume=True)
    checkpoint.write_bytes(before[checkpoint][:1000])
    with pytest.raises(ValueError, match=r"step-00000001.safetensors: damaged, or not a file of a training"):
        train_dreambooth(config, resume=True)
    assert TrainingHistory.load(folder).losses["step"].tolist() == [1]  # none of this lost the record


def test_tuned_weights_of_another_model(tmp_path, trained) -> None:
    weights = TrainingHistory.load(trained.output_dir).weights_folder(1)
    small_pipeline(DDIMScheduler).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"were trained on another model than .*other: on 'tiny'"):
        load_tuned(tmp_path / "other", weights, "cpu", torch.float32)
    with pytest.raises(ValueError, match="not a folder of trained weights"):
        load_tuned("tiny", tmp_path, "cpu")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch) -> None:
    config = small_config(tmp_path / "out", checkpointing_steps=1)
    job = prepare_job(config)

    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def listen(event) -> None:
        if isinstance(event, LossLogged) and event.step == 2:
            monkeypatch.setattr(_tensors, "save_file", full)

    job.subscribe(listen)
    with pytest.raises(OSError, match=r"cannot save a checkpoint: No space left on device") as caught:
        job.start().result()
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000001.safetensors"]
    history = TrainingHistory.load(tmp_path / "out")
    assert (history.status, "No space left" in history.message) == ("failed", True)
    assert train_dreambooth(config, resume=True).status == "done"


def test_the_end_is_heard_even_if_it_cannot_be_written_down(tmp_path, monkeypatch) -> None:
    job = prepare_job(small_config(tmp_path / "out"))

    def full(event) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job.history, "record", full)
    events = []
    job.subscribe(events.append)
    with pytest.raises(OSError, match="No space left"):
        job.start().result()
    assert isinstance(events[-1], Done)
    assert (events[-1].status, job.history.status) == ("failed", "failed")


def test_the_command_says_what_is_wrong(tmp_path, capsys) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("instance_data_dir: nowhere\ninstance_prompt: a dog\nlearning_rat: 1\n")
    assert cli.main(["train", str(path)]) == 2
    assert "a.yaml: learning_rat: no such key; did you mean learning_rate?" in capsys.readouterr().err
    assert cli.main(["train", str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


# which pictures a step sees


def sampler_of(samples: int, **changes) -> BatchSampler:
    groups = (RowGroup("instances", 4, samples), RowGroup("classes", 3, samples))
    options = {"seed": 3, "num_epochs": 5, "groups": groups, "latent_shape": (4, 2, 2), "timesteps": 1000}
    return BatchSampler(**{**options, **changes})


def test_an_epoch_sees_every_image_once_whatever_the_batch() -> None:
    for samples in (1, 2, 3, 4, 7):
        sampler = sampler_of(samples)
        assert sampler.steps == -(-20 // samples)
        batches = [sampler.draw(step) for step in range(sampler.steps)]
        rows = [torch.cat([batch.images.split(batch.groups)[kind] for batch in batches]).tolist() for kind in (0, 1)]
        assert all(sorted(rows[0][start : start + 4]) == [0, 1, 2, 3] for start in range(0, 20, 4))
        assert all(sorted(rows[1][start : start + 3]) == [0, 1, 2] for start in range(0, 18, 3))
        orders = {tuple(rows[0][start : start + 4]) for start in range(0, 20, 4)}
        assert len(orders) > 1
        for epoch in range(6):
            step = sampler.last_step_of(epoch)
            assert sampler.completed_epochs(step) >= epoch
            assert step == 0 or sampler.completed_epochs(step - 1) < epoch
        assert [sampler.epoch_of(step) for step in (1, sampler.steps)] == [min(5, -(-samples // 4)), 5]


def test_parts_of_a_batch_are_the_whole() -> None:
    groups = (RowGroup("instances", 4, 4), RowGroup("classes", 3, 4), RowGroup("class prompts", 9, 8))
    for sampler, of in ((sampler_of(4), 4), (sampler_of(4), 2), (sampler_of(4, groups=groups), 4)):
        whole, parts = sampler.draw(2), [sampler.draw(2).part(index, of) for index in range(of)]
        for name, tensor in vars(whole).items():
            if name == "groups":
                continue
            split = [getattr(part, name).split(part.groups) for part in parts]
            joined = torch.cat([torch.cat(group) for group in zip(*split, strict=True)])
            assert torch.equal(joined, tensor)
        assert not torch.equal(sampler.draw(2).noise, sampler.draw(3).noise)
        assert not torch.equal(whole.noise, whole.encoding)
