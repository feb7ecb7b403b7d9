"""Writes the trained model as a diffusers folder that old and new releases read alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from ...models.known_words import write_trained_words
from ...models.loading import load_pipeline
from ...models.sampling_defaults import SamplingDefaults, write_sampling_defaults
from ...models.weight_hash import weight_hash
from .rare_words import CAPTION_WORDS

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # that it may be loaded in
_SHARD = "15MB"
_PREFIX = "text_model."


def publish(
    pipe: StableDiffusionPipeline, tokenizer_files: Path, out: Path, defaults: SamplingDefaults | None = None
) -> None:
    """Write `pipe` in float16 to `out`, with the `defaults` that it is sampled with best, and the words that it knows.

    transformers ≥ 5 leaves out what releases before it need: the encoder's keys begin with ``text_model.`` there, and
    the tokenizer is read from vocab.json and merges.txt. Newer ones read both forms.
    """
    for part in (pipe.text_encoder, pipe.vae, pipe.unet):
        nn.Module.half(part.cpu())  # the plain cast: diffusers' own warns of running in float16, which nobody will
    pipe.save_pretrained(out, max_shard_size=_SHARD)
    if defaults is not None:
        write_sampling_defaults(out, defaults)
    weights = out / "text_encoder" / "model.safetensors"
    tensors = {_PREFIX + key.removeprefix(_PREFIX): tensor for key, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer_files / name, out / "tokenizer" / name)
    for path in (out / "model_index.json", *out.glob("*/config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:  # a folder of this machine, where training went on from one
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    hashes = [weight_hash(load_pipeline(out, "cpu", dtype)[0]) for dtype in _DTYPES]
    write_trained_words(out, CAPTION_WORDS, hashes)
