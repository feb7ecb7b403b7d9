"""Every training stage for a few steps, from nothing to a diffusers folder that the lens opens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from difflens_widgets import DiffusionLens
from difflens_widgets.tiny.clip import SmallClip
from difflens_widgets.tiny.judge import Judge
from difflens_widgets.tiny.training import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out") / "model"
    train.main(["--work", str(work), "--out", str(out), "--scale", "0.0004", "--pool", "64", "--device", "cpu"])
    return work, out


def test_the_command_writes_a_model_that_the_lens_opens(folders) -> None:
    lens = DiffusionLens.from_pretrained(folders[1], device="cpu")
    run = lens("a red circle", layers=[0, 12], num_inference_steps=2)
    assert sorted(run.images) == [0, 12]
    assert run.images[12].size == (train.PICTURE_SIZE, train.PICTURE_SIZE)
    assert lens.pipe.scheduler.config.prediction_type == "v_prediction"
    assert Judge.load(folders[1] / "judge").read([run.images[12]])
    clip = SmallClip.load(folders[1])
    assert clip.of_pictures([run.images[12]]).shape == clip.of_captions(["a red circle"]).shape


def test_weights_are_float16_safetensors_and_nothing_else(folders) -> None:
    suffixes = {path.suffix for path in folders[1].rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".txt", ".safetensors"}
    from safetensors import safe_open

    for path in folders[1].rglob("*.safetensors"):
        assert path.stat().st_size < 16e6
        with safe_open(path, "pt") as file:
            kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
        assert kinds <= {torch.float16, torch.int64}, path


def test_it_can_finetune_a_published_model(folders, tmp_path) -> None:
    arguments = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--start-from", str(folders[1])]
    train.main([*arguments, "--keep", "text_encoder", "judge", "--scale", "0.0004", "--pool", "64", "--device", "cpu"])
    before, after = (
        DiffusionLens.from_pretrained(folder, device="cpu").pipe for folder in (folders[1], tmp_path / "out")
    )
    for of_before, of_after in ((before.text_encoder, after.text_encoder), (before.vae.encoder, after.vae.encoder)):
        theirs = of_after.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in of_before.state_dict().items())
    assert not torch.equal(before.vae.decoder.conv_out.weight, after.vae.decoder.conv_out.weight)
    assert before.tokenizer.get_vocab() == after.tokenizer.get_vocab()
    theirs, ours = SmallClip.load(folders[1]), SmallClip.load(tmp_path / "out")
    assert torch.equal(theirs.text_projection.weight, ours.text_projection.weight)
    assert not torch.equal(theirs.picture[-1].weight, ours.picture[-1].weight), "it learns on with the decoder"
    judges = [Judge.load(folder / "judge").state_dict() for folder in (folders[1], tmp_path / "out")]
    assert all(torch.equal(value, judges[1][key]) for key, value in judges[0].items()), "it is kept, too"
    told = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json"))
    assert str(folders[1]) not in told, "where it went on from is of no interest to others"
    # the publishing rounds to float16: a start from random weights would be far away
    moved = (before.unet.conv_in.weight - after.unet.conv_in.weight).abs().max()
    assert 0 < moved < 0.01


def test_the_text_encoder_is_finetuned_with_the_tokens_of_the_published_one(folders, tmp_path) -> None:
    arguments = ["--work", str(tmp_path), "--start-from", str(folders[1]), "--stage", "text_encoder"]
    train.main([*arguments, "--scale", "0.0004", "--pool", "64", "--device", "cpu"])
    checkpoint = load_file(tmp_path / "text_encoder.safetensors")
    before = SmallClip.load(folders[1]).state_dict()
    moved = {key: (checkpoint[f"model/{key}"] - value).abs().max().item() for key, value in before.items()}
    assert 0 < moved["text_projection.weight"] < 0.01
    assert 0 < moved["picture.1.weight"] < 0.01, "the image encoder learns on with it"


def test_the_latents_scale_is_measured(folders) -> None:
    vae = DiffusionLens.from_pretrained(folders[1], device="cpu").pipe.vae
    assert vae.config.scaling_factor != 0.18215
