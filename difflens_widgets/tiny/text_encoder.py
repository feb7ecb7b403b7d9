"""Stage 1: the text encoder learns as CLIP's does, by matching captions to pictures.

The U-Net alone teaches an encoder too slowly (it was still ignored after 72,000 pictures). Each caption is also set
against two hard negatives of itself: another kind of thing, and other bindings (colours swapped, a relation turned
round), so that both have to be read. Afterwards the encoder is frozen.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ._loop import Recipe, fit
from .pool import ScenePool
from .scenes import ANIMALS, COLOURS, COUNTS, KINDS, SHAPES, plural
from .vision import PictureTrunk

WIDTH, LAYERS, HEADS = 192, 12, 4
_OPPOSITE = {"above": "below", "below": "above", "left": "right", "right": "left"}
_KIND_OF = {name: kind for kind in KINDS for name in (plural(kind), kind)}


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained 12-layer CLIPTextModel for `tokenizer`."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def other_kind(caption: str, rng: np.random.Generator) -> str:
    """The caption of a picture with another kind of thing in one place, mostly one that looks alike.

    Colours alone tell the captions of a batch apart. Without these negatives the encoder kept "circle" and "square"
    40 times closer together than two colours, and the U-Net painted something in between.
    """
    words = caption.split()
    i = rng.choice([i for i, word in enumerate(words) if word in _KIND_OF])
    kind = _KIND_OF[words[i]]
    family = KINDS if rng.random() < 0.2 else SHAPES if kind in SHAPES else ANIMALS
    other = rng.choice([name for name in family if name != kind])
    words[i] = plural(other) if any(number in words for number in COUNTS.values()) else other
    return _with_articles(words)


def other_binding(caption: str, rng: np.random.Generator) -> str:
    """The caption of a picture with the same kinds, otherwise coloured, placed or counted."""
    words = caption.split()
    colours = [i for i, word in enumerate(words) if word in COLOURS]
    relations = [i for i, word in enumerate(words) if word in _OPPOSITE]
    numbers = [i for i, word in enumerate(words) if word in COUNTS.values()]
    if numbers and rng.random() < 0.4:
        words[numbers[0]] = rng.choice([number for number in COUNTS.values() if number != words[numbers[0]]])
    elif relations and rng.random() < 0.35:
        words[relations[0]] = _OPPOSITE[words[relations[0]]]
    elif len(colours) >= 2 and rng.random() < 0.7:
        i, j = rng.choice(colours, 2, replace=False)
        words[i], words[j] = words[j], words[i]
    elif colours:
        i = rng.choice(colours)
        words[i] = rng.choice([colour for colour in COLOURS if colour != words[i]])
    else:
        return other_kind(caption, rng)
    return _with_articles(words)


def _with_articles(words: list[str]) -> str:
    """A wrong "an" would give a negative away without a look at the picture."""
    pairs = zip(words, [*words[1:], " "], strict=True)
    return " ".join(("an" if after[0] in "aeiou" else "a") if word in ("a", "an") else word for word, after in pairs)


class _Contrastive(nn.Module):
    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text = text_encoder
        self.text_projection = nn.Linear(WIDTH, WIDTH, bias=False)
        self.picture = nn.Sequential(PictureTrunk(), nn.Linear(PictureTrunk.width, WIDTH))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, input_ids: Tensor, pixels: Tensor) -> Tensor:
        """InfoNCE over the batch; the captions after the first n are hard negatives of those."""
        n = len(pixels)
        text = F.normalize(self.text_projection(self.text(input_ids).pooler_output).float(), dim=-1)
        picture = F.normalize(self.picture(pixels).float(), dim=-1)
        logits = self.logit_scale.exp().clamp(max=100) * picture @ text.T  # (n, captions)
        target = torch.arange(n, device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :n].T, target)) / 2


def train_text_encoder(
    tokenizer: CLIPTokenizer, pool: ScenePool, recipe: Recipe, folder: Path, device: torch.device
) -> CLIPTextModel:
    """Train contrastively on `pool` and return the text encoder alone."""
    torch.manual_seed(recipe.seed)
    model = _Contrastive(build_text_encoder(tokenizer)).to(device)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(pool.scenes), (recipe.batch,), generator=generator)
        rng = np.random.default_rng([recipe.seed, step])
        captions = [pool.scenes[i].caption for i in indices]
        captions += [other(caption, rng) for other in (other_kind, other_binding) for caption in captions]
        # causal attention: what follows the end token cannot change it, so the long padding is left out here
        ids = tokenizer(captions, padding="longest", return_tensors="pt").input_ids
        return model(ids.to(device), pool.batch(indices).to(device))

    return fit(model, loss_of_step, recipe, folder, "text_encoder").text
