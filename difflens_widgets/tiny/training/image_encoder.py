"""The small CLIP's image encoder learns to read painted pictures, too: it measures generated ones.

Trained on drawings only, it called a painted heart a circle. The text encoder stays as it is, for the U-Net hears it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ..clip import SmallClip, contrastive_loss
from .augment import augmented_pictures
from .dataset import ScenePool, floats
from .hard_negatives import other_binding, other_kind
from .loop import StageConfig, fit

_COUNT = 8_000
_PAINTED_EVERY = 2
_FILES = "picture_encoder"  # checkpoints and curves keep the stage's former name: they resume those of earlier runs


def train_image_encoder(
    clip: SmallClip,
    pool: ScenePool,
    autoencoder: AutoencoderKL,
    config: StageConfig,
    folder: Path,
    device: torch.device,
) -> SmallClip:
    """Train `clip`'s image encoder on with the pool's first scenes, of which `autoencoder` paints every other one."""
    clip = clip.to(device).requires_grad_(False)
    clip.picture.requires_grad_(True)
    scenes = pool.scenes[:_COUNT]
    pictures = augmented_pictures(pool, len(scenes), _PAINTED_EVERY, autoencoder, device, folder)
    rng = np.random.default_rng([config.seed, 4])
    captions = [scene.caption for scene in scenes]
    texts = torch.stack(
        [
            _embedded(clip, captions),
            _embedded(clip, [other_kind(caption, rng) for caption in captions]),
            _embedded(clip, [other_binding(caption, rng) for caption in captions]),
        ]
    )

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(scenes), (config.batch,), generator=generator)
        text, pixels = texts[:, chosen].flatten(0, 1).to(device), floats(pictures[chosen]).to(device)
        return contrastive_loss(text, clip.embed_pictures(pixels), clip.logit_scale)

    return fit(clip, loss_of_step, config, folder, _FILES)


def _embedded(clip: SmallClip, captions: list[str]) -> Tensor:
    parts = [captions[start : start + 256] for start in range(0, len(captions), 256)]
    return torch.from_numpy(np.concatenate([clip.of_captions(part) for part in parts]))
