"""Resuming: a damaged checkpoint, keys added since, another length, another device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from difflens_widgets import TrainingHistory, start_dreambooth, train_dreambooth
from difflens_widgets.dreambooth.history.events import LossLogged
from difflens_widgets.dreambooth.training.checkpoint import checkpoints
from difflens_widgets.dreambooth.training.setup import prepare
from difflens_widgets.dreambooth.training.tensor_files import load_tensors, save_tensors
from difflens_widgets.dreambooth.training.trainer import prepare_job
from difflens_widgets.runs.events import Message
from dreambooth_configs import miniature_config


def trained_weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = load_tensors(checkpoints(folder / "checkpoints")[-1])
    return tensors


def assert_same_training(a: TrainingHistory, b: TrainingHistory) -> None:
    """Bit by bit."""
    assert a.losses["loss"].tobytes() == b.losses["loss"].tobytes()
    left, right = trained_weights(a.folder), trained_weights(b.folder)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training of four steps that nothing interrupted."""
    return train_dreambooth(miniature_config(tmp_path_factory.mktemp("whole"), use_ema=True))


# damaged checkpoints


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, whole) -> None:
    config = miniature_config(tmp_path, use_ema=True, checkpointing_steps=1, checkpoints_total_limit=3)
    train_dreambooth(config)
    folder = Path(config.output_dir)
    newest, older = checkpoints(folder / "checkpoints")[:0:-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    older.write_bytes(b"")
    job = prepare_job(config, resume=True)
    assert job.history.losses["step"].tolist() == [1, 2]
    messages = []
    job.subscribe(lambda event: messages.append(event.message) if isinstance(event, Message) else None)
    assert_same_training(job.wait(), whole)
    assert len(messages) == 2
    assert all("damaged" in message and "resumes from step 2" in message for message in messages)
    assert newest.name in messages[0]


def test_a_damaged_checkpoint_does_not_push_out_good_ones(tmp_path) -> None:
    """It is newer by its name than those that are saved next, of which only the newest are kept."""
    train_dreambooth(miniature_config(tmp_path, checkpointing_steps=1, checkpoints_total_limit=3))
    config = miniature_config(tmp_path, checkpointing_steps=1, checkpoints_total_limit=1)
    folder = Path(config.output_dir) / "checkpoints"
    for path in checkpoints(folder)[1:]:
        path.write_bytes(b"")
    job = prepare_job(config, resume=True)
    job.subscribe(lambda event: job.cancel() if isinstance(event, LossLogged) and event.step == 3 else None)
    assert job.wait().status == "stopped"
    (saved,) = checkpoints(folder)
    assert saved.name == "step-00000003.safetensors"
    load_tensors(saved)


def test_if_all_checkpoints_are_damaged_nothing_is_deleted(tmp_path) -> None:
    config = miniature_config(tmp_path, checkpointing_steps=1, use_diffusion_lens=True, diffusion_lens_epochs=1)
    train_dreambooth(config)
    folder = Path(config.output_dir)
    for path in checkpoints(folder / "checkpoints"):
        path.write_bytes(path.read_bytes()[:500])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"step-00000004.safetensors: damaged, or not a file of a training"):
        train_dreambooth(config, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# settings


def test_a_key_that_was_added_since_does_not_matter(tmp_path, whole) -> None:
    config = miniature_config(tmp_path, use_ema=True)
    job = prepare_job(config)
    job.subscribe(lambda event: job.cancel() if isinstance(event, LossLogged) and event.step == 2 else None)
    assert job.wait().status == "stopped"
    folder = Path(config.output_dir)
    added = ("caption_dropout", "class_prompts", "max_train_steps", "diffusion_lens_class_seeds", "lr_power")
    about = json.loads((folder / "training.json").read_text())
    for key in added:
        del about["config"][key]
    (folder / "training.json").write_text(json.dumps(about))
    for path in checkpoints(folder / "checkpoints"):
        tensors, facts = load_tensors(path)
        save_tensors(tensors, {**facts, "config": about["config"]}, path, "a checkpoint")
    assert_same_training(train_dreambooth(config, resume=True), whole)


def test_a_key_that_only_a_later_version_knows(tmp_path) -> None:
    config = miniature_config(tmp_path, num_train_epochs=1)
    train_dreambooth(config)
    path = Path(config.output_dir) / "training.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "config": {**about["config"], "sharpness": 3}}))
    with pytest.raises(ValueError, match="settings that this version does not accept: sharpness: no such key"):
        train_dreambooth(config, resume=True)


@pytest.mark.parametrize("longer", [{"num_train_epochs": 2}, {"max_train_steps": 4}])
def test_a_finished_training_can_be_made_longer(tmp_path, whole, longer) -> None:
    train_dreambooth(miniature_config(tmp_path, use_ema=True, num_train_epochs=1))
    config = miniature_config(tmp_path, **{"use_ema": True, "num_train_epochs": 1, **longer})
    history = train_dreambooth(config, resume=True)
    assert_same_training(history, whole)
    assert TrainingHistory.load(history.folder).config == config.to_dict()
    with pytest.raises(ValueError, match=r"the training ends after 2 steps, but 4 are done already"):
        train_dreambooth(miniature_config(tmp_path, use_ema=True, num_train_epochs=1), resume=True)


def test_a_schedule_that_depends_on_the_length_is_not_made_longer(tmp_path) -> None:
    train_dreambooth(miniature_config(tmp_path, num_train_epochs=1, lr_scheduler="cosine"))
    with pytest.raises(ValueError, match=r"num_train_epochs: 2 is not what this training began with, 1: .*'cosine'"):
        train_dreambooth(miniature_config(tmp_path, lr_scheduler="cosine"), resume=True)


def test_max_train_steps_ends_in_the_middle_of_an_epoch_and_goes_on(tmp_path, whole) -> None:
    options = {"use_ema": True, "use_diffusion_lens": True, "diffusion_lens_epochs": 1, "diffusion_lens_layers": [1]}
    short = train_dreambooth(miniature_config(tmp_path, max_train_steps=3, **options))
    assert (short.epochs, short.losses["step"].tolist()) == ((0, 1, 2), [1, 2, 3])
    assert short.weights_folder(2).is_dir()
    history = train_dreambooth(miniature_config(tmp_path, max_train_steps=4, **options), resume=True)
    assert history.epochs == (0, 1, 2)
    assert_same_training(history, whole)


def test_checkpoints_of_a_default_training(tmp_path) -> None:
    """The interval used to be 500 steps, longer than a default training."""
    for epochs, interval in ((100, 40), (1, 1), (10_000, 500)):
        config = miniature_config(tmp_path / str(epochs), num_train_epochs=epochs, train_batch_size=1)
        setup = prepare(config, resume=False)
        assert setup.checkpointing_steps == interval
        assert setup.checkpointing_steps < setup.sampler.steps


# devices


@pytest.fixture
def accelerate_state():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_the_cpu_after_a_training_on_a_gpu(tmp_path, accelerate_state) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(mixed_precision="no")
    for state in (PartialState, AcceleratorState):
        state._shared_state["device"] = torch.device("cuda", 0)  # as a training on a GPU leaves it
    assert prepare(miniature_config(tmp_path, device="cpu"), resume=False).accelerator.device.type == "cpu"


def test_the_default_device_after_a_training_on_the_cpu(tmp_path, accelerate_state) -> None:
    prepare(miniature_config(tmp_path / "a", device="cpu"), resume=False)
    assert PartialState._shared_state["_cpu"]
    prepare(miniature_config(tmp_path / "b", device=None), resume=False)
    assert not PartialState._shared_state["_cpu"]


def test_a_device_that_is_not_there(tmp_path) -> None:
    if torch.cuda.is_available():
        pytest.skip("it is")
    with pytest.raises(ValueError, match="device: 'cuda' is not what a training would use here, 'cpu'"):
        start_dreambooth(miniature_config(tmp_path, device="cuda"))
