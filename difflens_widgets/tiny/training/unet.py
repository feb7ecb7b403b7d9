"""Stage 3: the U-Net, on cached latents and cached states of the frozen text encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor
from tqdm.auto import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from .cache import cached
from .cores import parts_of, side_by_side
from .dataset import ScenePool
from .layout import ReadingUNet
from .loop import Recipe, fit
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


def encode_captions(
    captions: list[str], tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, device: torch.device
) -> Tensor:
    """The last hidden states, final norm applied, as the stock pipeline feeds them: float16 (caption, token, width)."""

    def states(rows: Tensor) -> Tensor:
        some = [captions[row] for row in rows]
        ids = tokenizer(some, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return text_encoder(ids.to(device)).last_hidden_state

    return _encoded(states, len(captions), device, "encode captions")


def encode_pictures(pool: ScenePool, autoencoder: AutoencoderKL, device: torch.device) -> Tensor:
    """The scaled mean latents of the whole pool: float16 (scene, 4, 16, 16)."""

    def latents(rows: Tensor) -> Tensor:
        mean = autoencoder.encode(pool.batch(rows).to(device)).latent_dist.mean
        return mean * autoencoder.config.scaling_factor

    return _encoded(latents, len(pool.scenes), device, "encode pictures")


def _encoded(encode: Callable[[Tensor], Tensor], count: int, device: torch.device, told: str) -> Tensor:
    """What `encode` gives for the rows 0..`count` - 1, float16."""

    @torch.inference_mode()
    def part(rows: Tensor) -> Tensor:
        return encode(rows).half().cpu()

    done: list[Tensor] = []
    for rows in tqdm(torch.arange(count).split(256), desc=told, mininterval=10, leave=False):
        done += side_by_side([partial(part, some) for some in rows.chunk(parts_of(device))])
    return torch.cat(done)


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
    told, drawn = "\n".join(captions).encode(), np.ascontiguousarray(pool.pictures).data
    encode = partial(encode_captions, captions, tokenizer, text_encoder, device)
    states = cached(folder, "states", text_encoder, told, encode)
    latents = cached(folder, "latents", autoencoder, drawn, partial(encode_pictures, pool, autoencoder, device))
    torch.manual_seed(recipe.seed + 2)
    model = (build_unet() if start is None else start).to(device)
    task, reading = DenoisingTask(pool.scenes, latents, device), ReadingUNet(model).to(device)

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        batch = task.batch(recipe.batch, generator)

        def loss_of_part(part: Batch) -> Tensor:
            text = states[(rows[part.scene] + 1) * part.told.cpu()]
            return loss_of(reading, part, text.to(device, torch.float32))

        return [partial(loss_of_part, part) for part in batch.parts(parts_of(device))]

    return fit(reading, loss_of_step, recipe, folder, "unet").without_head()
