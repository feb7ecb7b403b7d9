"""Training that begins with what another model knows: its words, its latents, its eyes; and what learns how fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from difflens_widgets.tiny.judge import Judge
from difflens_widgets.tiny.scenes import training_scene
from difflens_widgets.tiny.training import curves
from difflens_widgets.tiny.training.autoencoder import build_autoencoder, take_over
from difflens_widgets.tiny.training.loop import StageConfig, fit
from difflens_widgets.tiny.training.text_encoder import build_text_encoder
from difflens_widgets.tiny.training.text_encoder import take_over as take_over_words
from difflens_widgets.tiny.training.tokenizer import build_tokenizer
from difflens_widgets.tiny.vision import shrink

CONFIG = StageConfig(steps=2, batch=4, learning_rate=1e-2, warmup=0)


def half_size() -> nn.Module:
    """An autoencoder of pictures half as large, as the one before."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=64,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


@torch.inference_mode()
def test_an_autoencoder_of_twice_the_side_begins_with_the_latents_of_the_former() -> None:
    torch.manual_seed(0)
    known, model = half_size().eval(), build_autoencoder(128).eval()
    smooth = nn.functional.interpolate(torch.randn(2, 3, 4, 4), size=(128, 128), mode="bicubic")
    theirs = known.encode(shrink(smooth, 64)).latent_dist.mean
    before = model.encode(smooth).latent_dist.mean
    take_over(model, known)
    latents = model.encode(smooth).latent_dist.mean
    assert latents.shape == (2, 4, 16, 16)
    assert (latents - theirs).square().mean() < 0.1 * (before - theirs).square().mean()
    painted, smaller = model.decode(theirs).sample, known.decode(theirs).sample
    assert painted.shape == (2, 3, 128, 128)
    assert (shrink(painted, 64) - smaller).abs().mean() < 0.5 * smaller.std()


def test_a_text_encoder_begins_with_the_words_that_both_know(tmp_path: Path) -> None:
    captions = [training_scene(0, index).caption for index in range(300)]
    former = build_tokenizer([caption for caption in captions if "snail" not in caption], tmp_path / "former")
    tokenizer = build_tokenizer(captions, tmp_path / "new")
    published, model = build_text_encoder(former), build_text_encoder(tokenizer)
    assert "snail</w>" in tokenizer.get_vocab()
    assert "snail</w>" not in former.get_vocab()
    drawn = model.get_input_embeddings().weight.detach().clone()
    take_over_words(model, tokenizer, former, published)
    ours, theirs = model.get_input_embeddings().weight, published.get_input_embeddings().weight
    for word in ("red</w>", "circle</w>", "<|endoftext|>"):
        assert torch.equal(ours[tokenizer.get_vocab()[word]], theirs[former.get_vocab()[word]]), word
    new = tokenizer.get_vocab()["snail</w>"]
    assert torch.equal(ours[new], drawn[new])
    ids = [
        tokenizer("a red circle", return_tensors="pt").input_ids,
        former("a red circle", return_tensors="pt").input_ids,
    ]
    with torch.inference_mode():
        states = [encoder.eval()(i).last_hidden_state for encoder, i in zip((model, published), ids, strict=True)]
    torch.testing.assert_close(*states)


def test_a_judge_begins_with_the_eyes_of_another(tmp_path: Path) -> None:
    other = Judge()
    other.background = nn.Linear(96, 3)  # of another world
    other.save(tmp_path)
    judge = Judge.init_from(tmp_path)
    assert judge(torch.zeros(1, 3, 128, 128))["centre"].sigmoid().mean() < 0.02, "at first it sees nothing anywhere"
    eyes = other.down[0][0].weight.half().float()
    assert torch.equal(judge.down[0][0].weight, eyes)
    assert judge.background.weight.shape[0] == Judge().background.weight.shape[0]


def test_some_parameters_learn_slower(tmp_path: Path) -> None:
    def moved(rate: float) -> dict[str, float]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"slow": nn.Linear(3, 1), "fast": nn.Linear(3, 1)})
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

        def loss_of_step(step: int, generator: torch.Generator) -> torch.Tensor:
            x = torch.ones(1, 3)
            return (model["slow"](x) + model["fast"](x) - 3).square().sum()

        fit(model, loss_of_step, replace(CONFIG, rates=(("slow.", rate),), weight_decay=0.0), tmp_path, f"{rate}")
        return {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}

    even, uneven = moved(1.0), moved(0.1)
    assert uneven["slow.weight"] == pytest.approx(0.1 * even["slow.weight"], rel=0.2)
    assert uneven["fast.weight"] == pytest.approx(even["fast.weight"], rel=0.2)


def test_curves_are_drawn_of_the_stages_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "unet.jsonl").write_text('{"step": 50, "loss": 0.5}\n{"step": 100, "loss": 0.25}\n')
    curves.main([str(tmp_path), str(tmp_path / "curves.svg")])
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    assert len(curves.figure(tmp_path).axes) == 1
    assert list(curves.figure(tmp_path).axes[0].lines[0].get_ydata()) == [0.5, 0.25]
    with pytest.raises(ValueError, match="no curve of any stage"):
        curves.figure(tmp_path / "elsewhere")
