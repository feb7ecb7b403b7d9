"""Stage 3: the U-Net, on cached latents and cached states of the frozen text encoder.

Velocity prediction with a noise schedule that ends in pure noise (Salimans & Ho 2022; Lin et al. 2023): a plain
background is a picture's mean, and the usual schedule never lets a model choose that mean.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from ._loop import Recipe, fit
from .layout import ReadingUNet, layout_loss, layout_maps
from .pool import ScenePool
from .text_encoder import WIDTH

_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "steps_offset": 1,  # means nothing with trailing steps; the stock pipeline warns of anything else
}
_FLOOR, _FLOOR_GOING_ON = 0.12, 0.8
_LAYOUT_WEIGHT = 0.05
_CAPTION_DROPOUT = 0.1  # empty prompts, for classifier-free guidance


def build_unet() -> UNet2DConditionModel:
    """An untrained U-Net with cross-attention at 16 × 16, 8 × 8 and (in the middle) 4 × 4."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        attention_head_dim=4,  # diffusers' old name: the number of heads
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def shipped_scheduler() -> DPMSolverMultistepScheduler:
    """DPM++ 2M: clean in 15 to 20 steps."""
    scheduler = DPMSolverMultistepScheduler(**_SCHEDULE)
    scheduler.register_to_config(clip_sample=False)  # for DDIM made from this config: it clips latents unless told
    return scheduler


@torch.inference_mode()
def encode_captions(
    captions: list[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, device: torch.device
) -> Tensor:
    """The last hidden states, final norm applied, as the stock pipeline feeds them: float16 (caption, token, width)."""
    states = []
    for start in tqdm(range(0, len(captions), 256), desc="encode captions", mininterval=10, leave=False):
        ids = tokenizer(captions[start : start + 256], padding="max_length", truncation=True, return_tensors="pt")
        states.append(text_encoder(ids.input_ids.to(device)).last_hidden_state.half().cpu())
    return torch.cat(states)


@torch.inference_mode()
def encode_pictures(pool: ScenePool, autoencoder: AutoencoderKL, device: torch.device) -> Tensor:
    """The scaled mean latents of the whole pool: float16 (scene, 4, 16, 16)."""
    latents = []
    for indices in tqdm(torch.arange(len(pool.scenes)).split(128), desc="encode pictures", mininterval=10, leave=False):
        mean = autoencoder.encode(pool.batch(indices).to(device)).latent_dist.mean
        latents.append((mean * autoencoder.config.scaling_factor).half().cpu())
    return torch.cat(latents)


def train_unet(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    autoencoder: AutoencoderKL,
    pool: ScenePool,
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    start: UNet2DConditionModel | None = None,
) -> UNet2DConditionModel:
    """Train the U-Net with everything else frozen; `start`: go on from these weights, with a new optimizer."""
    unique = sorted({scene.caption for scene in pool.scenes})
    row_of = {caption: row for row, caption in enumerate(unique)}
    rows = torch.tensor([row_of[scene.caption] for scene in pool.scenes])
    captions = ["", *unique]  # row 0: the empty prompt
    states = _cached(
        folder, "states", text_encoder, captions, lambda: encode_captions(captions, tokenizer, text_encoder, device)
    )
    drawn = [hashlib.sha256(np.ascontiguousarray(pool.pictures).data).hexdigest()]
    latents = _cached(folder, "latents", autoencoder, drawn, lambda: encode_pictures(pool, autoencoder, device))
    noise_schedule = DDPMScheduler(**_SCHEDULE)
    torch.manual_seed(recipe.seed + 2)
    model = (build_unet() if start is None else start).to(device)
    if device.type == "cpu":
        model.set_attn_processor(AttnProcessor())  # the fused kernel's backward pass took a third of a step on a CPU
    share_of = _cumulative_share_of_timesteps(noise_schedule, _FLOOR if start is None else _FLOOR_GOING_ON)
    maps = layout_maps(pool.scenes)
    reading = ReadingUNet(model).to(device)
    parts = 2 if device.type == "cpu" and torch.get_num_threads() > 1 else 1

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        chosen = torch.randint(len(pool.scenes), (recipe.batch,), generator=generator)
        kept = torch.rand(recipe.batch, generator=generator) >= _CAPTION_DROPOUT
        text = states[(rows[chosen] + 1) * kept].to(device, torch.float32)
        clean = latents[chosen].to(device, torch.float32)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        # one row per equal share of the distribution: a steadier loss than independent draws
        places = (torch.arange(recipe.batch) + torch.rand(recipe.batch, generator=generator)) / recipe.batch
        timesteps = torch.searchsorted(share_of, places).clamp(max=len(share_of) - 1).to(device)
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        target = noise_schedule.get_velocity(clean, noise, timesteps)
        weight = maps.weight[chosen].to(device, torch.float32).unsqueeze(1)
        kind, colour = maps.kind[chosen].to(device), maps.colour[chosen].to(device)

        def loss_of(rows: slice) -> Tensor:  # of every second row, say: each part has timesteps from everywhere
            velocity, logits = reading(noisy[rows], timesteps[rows], text[rows])
            told = kept[rows].to(device)  # without a caption nobody can know what stands where
            loss = (weight[rows] * (velocity - target[rows]) ** 2).mean()
            return loss + _LAYOUT_WEIGHT * layout_loss(logits[told], kind[rows][told], colour[rows][told])

        return [partial(loss_of, slice(part, None, parts)) for part in range(parts)]

    average = fit(reading, loss_of_step, recipe, folder, "unet")
    reading.hook.remove()
    average.hook.remove()
    return average.unet


def _cumulative_share_of_timesteps(noise_schedule: DDPMScheduler, floor: float) -> Tensor:
    """How often each timestep is trained, as a cumulative distribution, float32 (timesteps,).

    In proportion to the min-SNR-5 weight of a velocity loss (Hang et al. 2023), drawn instead of weighted so that no
    row is spent on a weight near zero. An even draw spends itself on the colours of backgrounds, which are most of the
    latents' variance, and leaves shapes to blobs: that was measured. The floor is the weight of the noisiest timesteps,
    where backgrounds and then the kinds of things are decided; a model that can draw outlines needs more of those.
    """
    kept = noise_schedule.alphas_cumprod.double()
    ratio = kept / (1 - kept)
    density = ratio.clamp(max=5) / (ratio + 1)
    density = torch.where(ratio < 5, density.clamp(min=floor), density)
    return (density.cumsum(0) / density.sum()).float()


def _cached(folder: Path, name: str, model: nn.Module, texts: list[str], compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives, kept in `folder` under a name that changes with the model's weights and with `texts`."""
    digest = hashlib.sha256("\n".join(texts).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    path = folder / f"{name}-{digest.hexdigest()[:12]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        save_file({name: compute().contiguous()}, aside)
        os.replace(aside, path)
    return load_file(path)[name]
