"""What judge and CLIP learn to read from: drawn pictures, some wobbled and painted by an autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from difflens_widgets.tiny.drawing import draw_array
from difflens_widgets.tiny.scenes import HELD_OUT
from difflens_widgets.tiny.training.augment import augmented_pictures, painted
from difflens_widgets.tiny.training.autoencoder import build_autoencoder
from difflens_widgets.tiny.training.dataset import load_pool
from difflens_widgets.tiny.training.judge_training import judged_scene

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def autoencoder() -> AutoencoderKL:
    torch.manual_seed(0)
    return build_autoencoder(32).eval()


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """More than are painted at once."""
    return torch.from_numpy(np.stack([draw_array(judged_scene(0, index), 32) for index in range(66)]))


def test_painted_pictures_are_pictures_again(autoencoder, pictures) -> None:
    before = pictures.clone()
    found = painted(pictures, autoencoder, CPU)
    assert (found.shape, found.dtype) == (pictures.shape, torch.uint8)
    assert torch.equal(pictures, before)
    assert not torch.equal(found, pictures)


def test_they_follow_from_the_seed(autoencoder, pictures) -> None:
    some = pictures[:8]
    assert torch.equal(painted(some, autoencoder, CPU), painted(some, autoencoder, CPU))
    assert not torch.equal(painted(some, autoencoder, CPU), painted(some, autoencoder, CPU, seed=1))
    same = painted(some[:1].repeat(2, 1, 1, 1), autoencoder, CPU)
    assert not torch.equal(*same)  # each wobbles on its own


def test_some_augmented_pictures_are_painted(autoencoder, tmp_path) -> None:
    pool = load_pool(tmp_path, 12, 32)
    found = augmented_pictures(pool, 9, 4, autoencoder, CPU, tmp_path)
    same = [
        torch.equal(ours, torch.from_numpy(drawn.copy())) for ours, drawn in zip(found, pool.pictures, strict=False)
    ]
    assert same == [index % 4 != 0 for index in range(9)]


def test_what_was_painted_is_kept_for_the_same_weights(autoencoder, tmp_path) -> None:
    pool = load_pool(tmp_path, 4, 32)
    found = augmented_pictures(pool, 4, 2, autoencoder, CPU, tmp_path)
    kept = next(tmp_path.glob("painted-*"))
    save_file({"painted": 255 - load_file(kept)["painted"]}, kept)  # told apart from one painted again
    again = augmented_pictures(pool, 4, 2, autoencoder, CPU, tmp_path)
    assert torch.equal(again[::2], 255 - found[::2])
    torch.manual_seed(1)
    other = augmented_pictures(pool, 4, 2, build_autoencoder(32).eval(), CPU, tmp_path)
    assert not torch.equal(other[::2], again[::2])
    assert len(list(tmp_path.glob("painted-*"))) == 2


def test_the_judges_scenes_have_held_out_combinations() -> None:
    first = [judged_scene(1, index).items[0] for index in range(60)]
    assert all((item.color, item.kind) in HELD_OUT for item in first[::6])
    assert judged_scene(1, 5) == judged_scene(1, 5) != judged_scene(2, 5)
