"""Stage 1: the text encoder learns as CLIP's does, by matching captions to pictures.

The U-Net alone teaches an encoder too slowly (it was still ignored after 72,000 pictures). Each caption is also set
against two hard negatives of itself: another kind of thing, and other bindings (colors swapped, a relation turned
round), so that both have to be read. A share of all captions gets a rare word that means nothing, see `rare_words.py`.
Afterwards the encoder is frozen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ..clip import SmallClip
from .dataset import ScenePool
from .hard_negatives import other_binding, other_kind
from .loop import StageConfig, fit
from .rare_words import rare_words, with_rare_word

WIDTH, LAYERS, HEADS = 192, 12, 4


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


def train_text_encoder(
    tokenizer: CLIPTokenizer,
    pool: ScenePool,
    config: StageConfig,
    folder: Path,
    device: torch.device,
    start: tuple[CLIPTokenizer, CLIPTextModel] | SmallClip | None = None,
) -> SmallClip:
    """Train contrastively on `pool`.

    `start`: a small CLIP with this tokenizer, to train on; or the tokenizer and text encoder of another world's model.
    """
    torch.manual_seed(config.seed)
    if isinstance(start, SmallClip):
        model = start.to(device)
    else:
        text_encoder = build_text_encoder(tokenizer)
        if start is not None:
            take_over(text_encoder, tokenizer, *start)
        model = SmallClip(text_encoder).to(device)
    model.tokenizer = tokenizer
    rare = rare_words(tokenizer)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(pool.scenes), (config.batch,), generator=generator)
        rng = np.random.default_rng([config.seed, step])
        captions = [pool.scenes[i].caption for i in indices]
        captions += [other(caption, rng) for other in (other_kind, other_binding) for caption in captions]
        captions = [with_rare_word(caption, rare, rng) for caption in captions]
        # causal attention: what follows the end token cannot change it, so the long padding is left out here
        ids = tokenizer(captions, padding="longest", return_tensors="pt").input_ids
        return model(ids.to(device), pool.batch(indices).to(device))

    return fit(model, loss_of_step, config, folder, "text_encoder")


@torch.no_grad()
def take_over(
    text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, known: CLIPTokenizer, published: CLIPTextModel
) -> None:
    """All blocks of a published encoder of the same size, and its embeddings of the tokens that both know."""
    states = {key: value.clone() for key, value in published.float().state_dict().items()}
    name = next(key for key in states if key.endswith("token_embedding.weight"))
    embeddings, vocabulary = text_encoder.state_dict()[name].clone(), known.get_vocab()
    for token, row in tokenizer.get_vocab().items():
        if token in vocabulary:
            embeddings[row] = states[name][vocabulary[token]]
    text_encoder.load_state_dict({**states, name: embeddings})
