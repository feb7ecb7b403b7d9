"""The training itself: what it moves and what it leaves, resuming to the bit, stopping, running away."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel

from difflens_widgets import DiffusionLens
from difflens_widgets.cli import commands as cli
from difflens_widgets.dreambooth.history.events import EpochValidated, LossLogged
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.dreambooth.training.checkpoint import NotFiniteError, checkpoints
from difflens_widgets.dreambooth.training.trainable import merged_lora
from difflens_widgets.dreambooth.training.trainer import prepare_job, train_dreambooth
from difflens_widgets.models.loading import WEIGHTS
from difflens_widgets.models.tuned import load_tuned
from difflens_widgets.runs.events import Done
from dreambooth_configs import small_config


def bits(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in module.state_dict().items()}


def last_state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(folder / "checkpoints")[-1])


def assert_same_bits(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        assert torch.equal(tensor, others[name]), name


# what is trained, and what is not


@pytest.mark.parametrize("layers", ["attention", "all", None], ids=["lora", "lora of all", "full"])
def test_what_is_frozen_stays_and_stock_diffusers_loads_the_rest(tmp_path, layers) -> None:
    use_lora = layers is not None
    config = small_config(
        tmp_path / "out",
        use_lora=use_lora,
        lora_layers=layers or "all",
        learning_rate=1e-3,
        with_prior_preservation=True,
        num_train_epochs=1,
    )
    job = prepare_job(config)
    pipe = job.training.pipe
    before = {name: bits(getattr(pipe, name)) for name in ("vae", "unet", "text_encoder")}
    history = job.start().result()

    assert bits(pipe.vae) == before["vae"]
    for name in ("unet", "text_encoder"):
        after = {key.replace(".base_layer", ""): tensor for key, tensor in bits(getattr(pipe, name)).items()}
        same = [after[key] == tensor for key, tensor in before[name].items()]
        assert all(same) if use_lora else not any(same[key] for key in range(0, len(same), 7))

    stock = StableDiffusionPipeline.from_pretrained(WEIGHTS).to(torch.float32)
    folder = history.weights_folder(1)
    if use_lora:
        stock.load_lora_weights(folder, weight_name="pytorch_lora_weights.safetensors")
        assert len(stock.get_list_adapters()) == 2
    else:
        stock.unet = UNet2DConditionModel.from_pretrained(folder / "unet").float()
        stock.text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    ours = load_tuned("tiny", folder, "cpu")
    pictures = []
    for each in (pipe, stock, ours):
        each.set_progress_bar_config(disable=True)
        options = {"num_inference_steps": 2, "output_type": "latent", "guidance_scale": 3.0}
        pictures.append(each("a photo of xon dog", generator=torch.Generator().manual_seed(0), **options).images)
    raw = StableDiffusionPipeline.from_pretrained(WEIGHTS).to(torch.float32)
    raw.set_progress_bar_config(disable=True)
    untrained = raw("a photo of xon dog", generator=torch.Generator().manual_seed(0), **options).images
    torch.testing.assert_close(pictures[1], pictures[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pictures[2], pictures[0], rtol=1e-4, atol=1e-4)
    assert (pictures[0] - untrained).abs().max() > 1e-3


def test_the_prior_gives_the_encoder_its_gradient(tmp_path) -> None:
    """The class prompt's own words, which the instance prompt does not have, can only move by the prior."""
    moved = {}
    for weight in (0.0, 1.0):
        config = small_config(
            tmp_path / str(weight),
            use_lora=False,
            with_prior_preservation=True,
            prior_loss_weight=weight,
            class_prompt="a picture of two rabbits",
            class_data_dir=str(tmp_path / "class"),
            num_train_epochs=1,
            adam_weight_decay=0.0,
        )
        job = prepare_job(config)
        pipe = job.training.pipe
        table = pipe.text_encoder.get_input_embeddings().weight
        word = pipe.tokenizer("rabbits", add_special_tokens=False).input_ids
        before = table[word].detach().clone()
        job.start().result()
        moved[weight] = float((table[word].detach() - before).abs().max())
    assert moved[0.0] == 0
    assert moved[1.0] > 1e-6


def test_half_batches_accumulated_are_one_batch(tmp_path) -> None:
    losses = []
    for name, size, batches in (("whole", 4, 1), ("halves", 2, 2)):
        config = small_config(
            tmp_path / name, train_batch_size=size, gradient_accumulation_steps=batches, learning_rate=1e-3
        )
        losses.append(train_dreambooth(config).losses["loss"])
    assert len(losses[0]) == 2
    assert losses[0].tolist() == pytest.approx(losses[1].tolist(), rel=1e-5)


def test_the_cache_changes_nothing_nor_does_checkpointing(tmp_path) -> None:
    losses = {
        name: train_dreambooth(small_config(tmp_path / name, with_prior_preservation=True, **changes)).losses["loss"]
        for name, changes in (
            ("usual", {}),
            ("no cache", {"cache_latents": False}),
            ("checkpointing", {"gradient_checkpointing": True}),
        )
    }
    for name in ("no cache", "checkpointing"):
        assert losses[name].tolist() == pytest.approx(losses["usual"].tolist(), rel=1e-5), name


@pytest.mark.parametrize("layers", ["attention", "all"])
def test_generating_with_merged_lora(tmp_path, layers) -> None:
    """The same pictures but for rounding, and not a bit of the model changed by it."""
    job = prepare_job(small_config(tmp_path, lora_layers=layers, learning_rate=1e-2))
    assert job.training.make_ready(job)
    for _ in range(3):
        job.training.step()
    pipe, before = job.training.pipe, bits(job.training.trained)
    lens = DiffusionLens(pipe)
    usual = lens("xon", num_inference_steps=3, layers=[0, 12])
    with merged_lora(pipe.unet, pipe.text_encoder):
        inside = [name for name, of_weight in bits(job.training.trained).items() if of_weight != before[name]]
        merged = lens("xon", num_inference_steps=3, layers=[0, 12])
    assert inside
    assert all("base_layer" in name for name in inside)
    assert bits(job.training.trained) == before
    again = lens("xon", num_inference_steps=3, layers=[0, 12])
    for layer in (0, 12):
        np.testing.assert_allclose(merged.latents[layer], usual.latents[layer], atol=2e-3)
        np.testing.assert_array_equal(again.latents[layer], usual.latents[layer])


def test_everything_at_once(tmp_path) -> None:
    """Reduced precision, a schedule, a moving average: other weights, all finite, and the average is what is kept."""
    config = small_config(
        tmp_path / "out",
        mixed_precision="bf16",
        lr_scheduler="cosine",
        lr_warmup_steps=2,
        use_ema=True,
        snr_gamma=5.0,
        text_encoder_learning_rate=5e-5,
        with_prior_preservation=True,
    )
    history = train_dreambooth(config)
    assert history.losses["learning_rate"][:3].tolist() == pytest.approx([0, 5e-5, 1e-4])
    state = last_state(history.folder)
    kept = load_file(history.weights_folder(2) / "pytorch_lora_weights.safetensors")
    average = [tensor for name, tensor in sorted(state.items()) if name.startswith("average/")]
    assert len(average) == len(kept)
    sums = [sorted(float(one.sum()) for one in tensors) for tensors in (average, kept.values())]
    assert sums[0] == pytest.approx(sums[1])
    trained = [tensor for name, tensor in state.items() if name.startswith("trained/")]
    assert all(torch.isfinite(one).all() for one in trained)


# going on


def test_killed_and_resumed_is_as_unbroken_to_the_bit(tmp_path) -> None:
    options = {
        "with_prior_preservation": True,
        "checkpointing_steps": 3,
        "num_train_epochs": 4,
        "use_ema": True,
        "lr_scheduler": "cosine",
        "class_data_dir": str(tmp_path / "class"),
    }
    unbroken = small_config(tmp_path / "unbroken", **options)
    train_dreambooth(unbroken)
    config = small_config(tmp_path / "killed", **options)
    yaml = config.to_yaml(tmp_path / "config.yaml")
    process = subprocess.Popen([sys.executable, "-m", "difflens_widgets", "train", str(yaml)])
    losses = tmp_path / "killed" / "losses.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if losses.exists() and losses.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    assert len(checkpoints(tmp_path / "killed" / "checkpoints")) >= 1

    with pytest.raises(ValueError, match="holds a training already"):
        train_dreambooth(config)
    assert cli.main(["train", str(yaml), "--resume"]) == 0
    assert_same_bits(last_state(tmp_path / "killed"), last_state(tmp_path / "unbroken"))
    broken, whole = (TrainingHistory.load(tmp_path / name) for name in ("killed", "unbroken"))
    assert broken.status == whole.status == "done"
    for name, column in whole.losses.items():
        assert broken.losses[name].tobytes() == column.tobytes()
    assert_same_bits(
        load_file(broken.weights_folder(4) / "pytorch_lora_weights.safetensors"),
        load_file(whole.weights_folder(4) / "pytorch_lora_weights.safetensors"),
    )


def test_stopped_saves_and_goes_on_to_the_bit(tmp_path) -> None:
    whole = train_dreambooth(small_config(tmp_path / "whole", use_lora=False))
    config = small_config(tmp_path / "stopped", use_lora=False, checkpointing_steps=500)
    job = prepare_job(config)
    job.subscribe(lambda event: job.cancel() if isinstance(event, LossLogged) and event.step == 2 else None)
    assert job.start().result().status == "stopped"
    assert [path.name for path in checkpoints(tmp_path / "stopped" / "checkpoints")] == ["step-00000002.safetensors"]
    history = train_dreambooth(config, resume=True)
    assert history.status == "done"
    assert history.losses["loss"].tobytes() == whole.losses["loss"].tobytes()
    assert_same_bits(last_state(tmp_path / "stopped"), last_state(tmp_path / "whole"))
    again = train_dreambooth(config, resume=True)  # nothing is left to do
    assert again.status == "done"
    assert len(again.losses["step"]) == 4


@pytest.mark.parametrize("changes", [{}, {"use_lora": False, "use_ema": True}], ids=["lora", "full"])
def test_a_job_that_has_ended_keeps_no_model(tmp_path, changes) -> None:
    job = prepare_job(small_config(tmp_path / "out", max_train_steps=1, **changes))
    unet = weakref.ref(job.training.pipe.unet)
    history = job.start().result()
    gc.collect()
    assert unet() is None
    assert job.history is history


def test_only_the_last_checkpoints_are_kept(tmp_path) -> None:
    train_dreambooth(small_config(tmp_path / "out", checkpointing_steps=1, checkpoints_total_limit=2))
    names = [path.name for path in checkpoints(tmp_path / "out" / "checkpoints")]
    assert names == ["step-00000003.safetensors", "step-00000004.safetensors"]
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_training_that_runs_away_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch) -> None:
    config = small_config(tmp_path / "out", checkpointing_steps=1)
    job = prepare_job(config)

    def spoil(event) -> None:
        if isinstance(event, LossLogged) and event.step == 2:
            training = job.training
            with torch.no_grad():
                training._parameters[0].fill_(float("nan"))

    job.subscribe(spoil)
    with pytest.raises(NotFiniteError, match=r"after step 2 the weight .* is not finite"):
        job.start().result()
    assert [path.name for path in checkpoints(tmp_path / "out" / "checkpoints")] == ["step-00000001.safetensors"]
    assert TrainingHistory.load(tmp_path / "out").status == "failed"
    assert train_dreambooth(config, resume=True).status == "done"


def test_a_loss_that_is_nan_says_at_which_step(tmp_path) -> None:
    options = {"learning_rate": 1e30, "max_grad_norm": 0.0, "num_train_epochs": 10}
    for steps, about in ((1, "the last good checkpoint was kept"), (20, "no checkpoint was saved yet")):
        config = small_config(tmp_path / str(steps), checkpointing_steps=steps, **options)
        with pytest.raises(NotFiniteError, match=r"step \d+: the loss is (nan|inf)"):
            train_dreambooth(config)
        history = TrainingHistory.load(tmp_path / str(steps))
        assert history.status == "failed"
        assert about in history.message.lower()
        assert bool(checkpoints(tmp_path / str(steps) / "checkpoints")) == (steps == 1)


# the lens


def test_a_learning_rate_of_0_gives_the_same_images_in_all_epochs(tmp_path) -> None:
    config = small_config(
        tmp_path / "out",
        learning_rate=0.0,
        use_lora=False,
        use_diffusion_lens=True,
        diffusion_lens_epochs=1,
        diffusion_lens_layers=[0, 12, 99],
        validation_prompts=["a red circle"],
    )
    job = prepare_job(config)
    events = []
    job.subscribe(events.append)
    history = job.start().result()
    assert history.epochs == (0, 1, 2)
    assert [(e.epoch, e.validation_prompt) for e in events if isinstance(e, EpochValidated)] == [
        (epoch, prompt) for epoch in (0, 1, 2) for prompt in (0, 1, 2, 3)
    ]
    assert list(history.runs[0]) == [
        config.instance_prompt,
        "a photo of a dog",
        "a red circle",
        "a photo of a dog · seed +1",
    ]
    assert history.run(0, 1).images[12].tobytes() != history.run(0, 3).images[12].tobytes()
    for prompt in range(4):
        first = history.run(0, prompt)
        assert first.seed == config.diffusion_lens_seed + (prompt == 3)
        assert sorted(first.images) == [0, 12]  # the encoder has no layer 99
        for epoch in (1, 2):
            run = history.run(epoch, prompt)
            assert all(run.images[layer].tobytes() == image.tobytes() for layer, image in first.images.items())
    replay = []
    job.subscribe(replay.append)  # one who comes late hears it all
    kinds = [kind for event in replay for kind in (LossLogged, EpochValidated, Done) if isinstance(event, kind)]
    assert kinds == [LossLogged] * 4 + [EpochValidated] * 12 + [Done]


def test_the_lens_sees_the_training_and_history_generates_it_again(tmp_path) -> None:
    config = small_config(
        tmp_path / "out",
        learning_rate=1e-2,
        use_diffusion_lens=True,
        diffusion_lens_epochs=1,
        diffusion_lens_layers=[12],
        num_train_epochs=1,
    )
    history = train_dreambooth(config)
    before, after = history.run(0), history.run(1)
    assert before.images[12].tobytes() != after.images[12].tobytes()
    for epoch, run in ((0, before), (1, after)):
        again = history.lens(epoch, device="cpu")(config.instance_prompt, layers=[12], num_inference_steps=2)
        difference = abs(again.latents[12] - run.latents[12]).max()
        assert difference < 1e-3, epoch


# many processes


def test_two_processes_train_as_one_does(tmp_path) -> None:
    options = {"with_prior_preservation": True, "class_data_dir": str(tmp_path / "class"), "learning_rate": 1e-3}
    one = train_dreambooth(small_config(tmp_path / "one", train_batch_size=4, **options))
    two = small_config(tmp_path / "two", train_batch_size=2, **options).to_yaml(tmp_path / "two.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "difflens_widgets", "train", str(two)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    together = TrainingHistory.load(tmp_path / "two")
    assert together.status == "done"
    for name, column in one.losses.items():
        assert together.losses[name].tolist() == pytest.approx(column.tolist(), rel=1e-4), name
