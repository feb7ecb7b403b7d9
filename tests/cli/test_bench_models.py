"""The models of `difflens bench`: Stable Diffusion 1.5's geometry with random weights, and devices."""

from __future__ import annotations

import pytest
import torch

from difflens_widgets.cli import commands as cli
from difflens_widgets.cli.bench_models import SD15_RANDOM, sd15_random


def test_the_geometry_is_that_of_stable_diffusion() -> None:
    """The published numbers of parameters, without their memory."""
    pipe = sd15_random(torch.device("meta"), torch.float16)
    parts = {name: getattr(pipe, name) for name in ("unet", "vae", "text_encoder")}
    counts = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
    assert {part.dtype for part in parts.values()} == {torch.float16}
    assert len(pipe.tokenizer("a red circle", padding="max_length").input_ids) == 77
    assert pipe.vae_scale_factor * pipe.unet.config.sample_size == 512


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("model", ["tiny", SD15_RANDOM])
@pytest.mark.parametrize("what", [["lens"], ["lens", "--draft"], ["attention"]], ids=" ".join)
def test_a_device_that_is_not_here_is_one_line(what, model, capsys) -> None:
    assert cli.main(["bench", *what, "--model", model, "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "device: 'cuda' cannot be used" in error


def test_a_training_needs_files(capsys) -> None:
    assert cli.main(["bench", "dreambooth", "--model", SD15_RANDOM]) == 2
    assert "--model: sd15-random has no files; `difflens bench lens`" in capsys.readouterr().err
