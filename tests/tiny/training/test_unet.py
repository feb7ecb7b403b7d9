"""What the U-Net is trained on: standardised latents, timesteps where shapes are decided, cached states."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import nn

from difflens_widgets.tiny.training.autoencoder import build_autoencoder, standardise_latents
from difflens_widgets.tiny.training.cache import cached
from difflens_widgets.tiny.training.unet import shipped_scheduler
from difflens_widgets.tiny.training.unet_loss import SCHEDULE, cumulative_share_of_timesteps


@torch.no_grad()
def test_standard_latents_are_the_same_pictures() -> None:
    torch.manual_seed(0)
    model = build_autoencoder(32).eval()
    pixels = torch.rand(8, 3, 32, 32) * 2 - 1
    before = model.encode(pixels).latent_dist
    restored = model.decode(before.mean).sample
    standardise_latents(model, before.mean)
    after = model.encode(pixels).latent_dist
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.decode(after.mean).sample, restored, atol=1e-5, rtol=1e-4)
    scale = before.mean.std((0, 2, 3)).view(1, -1, 1, 1)
    torch.testing.assert_close(after.std * scale, before.std, atol=1e-6, rtol=1e-4)
    assert model.config.scaling_factor == 1.0


def test_timesteps_are_drawn_where_they_teach_most() -> None:
    schedule = DDPMScheduler(**SCHEDULE)
    share = cumulative_share_of_timesteps(schedule, floor=0.12)
    assert (share.diff() > 0).all(), "every timestep is trained"
    torch.testing.assert_close(share[-1], torch.tensor(1.0), atol=1e-5, rtol=0)
    drawn = torch.searchsorted(share, torch.rand(50_000, generator=torch.Generator().manual_seed(0)))
    counts = np.histogram(drawn.numpy(), bins=[0, 100, 300, 500, 700, 1000])[0] / [100, 200, 200, 200, 300]
    assert counts.argmax() == 1
    kept = schedule.alphas_cumprod[180]
    ratio = float(kept / (1 - kept))
    density = float(share[180] - share[179]) / float(share[999] - share[998])
    np.testing.assert_allclose(density, min(ratio, 5) / (ratio + 1) / 0.12, rtol=2e-2)
    later = cumulative_share_of_timesteps(schedule, floor=0.45)
    assert 1 - later[700] > 1.5 * (1 - share[700]), "in fine-tuning, more of the noisiest"


def test_what_was_encoded_is_kept_until_the_model_or_the_texts_change(tmp_path) -> None:
    calls = []

    def compute() -> torch.Tensor:
        calls.append(1)
        return torch.full((2, 3), float(len(calls)))

    model = nn.Linear(2, 2)
    first = cached(tmp_path, "states", model, b"a cat", compute)
    assert torch.equal(cached(tmp_path, "states", model, b"a cat", compute), first)
    assert len(calls) == 1
    cached(tmp_path, "states", model, b"a dog", compute)
    with torch.no_grad():
        model.bias += 1
    changed = cached(tmp_path, "states", model, b"a cat", compute)
    assert len(calls) == 3
    assert not torch.equal(changed, first)


def test_other_schedulers_can_be_made_from_the_shipped_one() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(shipped_scheduler().config)
    assert not scheduler.config.clip_sample
    assert scheduler.config.prediction_type == "v_prediction"
