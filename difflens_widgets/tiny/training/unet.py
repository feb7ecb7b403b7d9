"""Last stage: the U-Net, on encoded scenes that are drawn anew while it trains; everything else is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor
from tqdm.auto import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from ..drawing import draw_array
from ..scenes import Scene
from .cores import parts_of, run_parallel
from .dataset import ScenePool, balanced_scene, floats
from .layout import ReadingUNet
from .loop import StageConfig, autocast_of, fit
from .rare_words import rare_words, with_rare_word
from .scene_stream import Encode, SceneStream
from .text_encoder import WIDTH
from .unet_loss import SCHEDULE, Batch, DenoisingTask, loss_of

MUON = ("unet.down_blocks", "unet.mid_block", "unet.up_blocks")
"""Of `ReadingUNet`: all but the first and last layers, as Muon wants it."""


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
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE)
    scheduler.register_to_config(clip_sample=False)  # for DDIM made from this config: it clips latents unless told
    return scheduler


@torch.inference_mode()
def encode_captions(
    captions: Sequence[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, device: torch.device
) -> Tensor:
    """The last hidden states, final norm applied, as the stock pipeline feeds them: float16 (caption, token, width)."""
    ids = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt").input_ids
    with autocast_of(device):
        return text_encoder(ids.to(device)).last_hidden_state.half().cpu()


@torch.inference_mode()
def encode_pictures(pixels: Tensor, autoencoder: AutoencoderKL, device: torch.device) -> Tensor:
    """The scaled mean latents of pictures in -1..1: float16 (picture, 4, 16, 16)."""
    with autocast_of(device):
        mean = autoencoder.encode(pixels.to(device)).latent_dist.mean
    return (mean * autoencoder.config.scaling_factor).half().cpu()


def encode_pool(pool: ScenePool, autoencoder: AutoencoderKL, device: torch.device) -> Tensor:
    """The latents of a whole pool."""
    done: list[Tensor] = []
    for rows in tqdm(torch.arange(len(pool.scenes)).split(256), desc="encode pictures", mininterval=10, leave=False):
        parts = [pool.batch(part) for part in rows.chunk(parts_of(device))]
        done += run_parallel([partial(encode_pictures, part, autoencoder, device) for part in parts])
    return torch.cat(done)


def scene_encoder(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, autoencoder: AutoencoderKL, seed: int, device: torch.device
) -> Encode:
    """What draws and encodes the scenes of `seed`, a share of their captions with a rare word."""
    words, size = rare_words(tokenizer), int(autoencoder.config.sample_size)

    def encode(indices: Sequence[int]) -> tuple[list[Scene], Tensor, Tensor]:
        scenes = [balanced_scene(seed, index) for index in indices]
        randoms = [np.random.default_rng([seed, index, 3]) for index in indices]
        captions = [with_rare_word(scene.caption, words, rng) for scene, rng in zip(scenes, randoms, strict=True)]
        latents, states = [], []
        for start in range(0, len(scenes), 64):
            rows = slice(start, start + 64)
            pixels = floats(torch.from_numpy(np.stack([draw_array(scene, size) for scene in scenes[rows]])))
            latents.append(encode_pictures(pixels, autoencoder, device))
            states.append(encode_captions(captions[rows], tokenizer, text_encoder, device))
        return scenes, torch.cat(latents), torch.cat(states)

    return encode


def train_unet(
    stream: SceneStream,
    empty: Tensor,
    config: StageConfig,
    folder: Path,
    device: torch.device,
    start: UNet2DConditionModel | None = None,
) -> UNet2DConditionModel:
    """Train the U-Net on `stream`.

    `empty` are the states of the empty caption, float16 (1, token, width). `start`: fine-tune these weights, with a
    new optimizer.
    """
    torch.manual_seed(config.seed + 2)
    model = (build_unet() if start is None else start).to(device)
    task, reading = DenoisingTask(device), ReadingUNet(model).to(device)

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        stream.advance(step)
        batch = task.batch(stream.latents, stream.maps, config.batch, generator)

        def loss_of_part(part: Batch) -> Tensor:
            text = torch.where(part.told.cpu().view(-1, 1, 1), stream.states[part.scene], empty)
            return loss_of(reading, part, text.to(device, torch.float32))

        return [partial(loss_of_part, part) for part in batch.parts(parts_of(device))]

    return fit(reading, loss_of_step, config, folder, "unet").without_head()
