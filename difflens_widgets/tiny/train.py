"""Trains the embedded model from nothing: ``python -m difflens_widgets.tiny.train --work FOLDER --out FOLDER``.

Stages: draw scenes → tokenizer → text encoder (contrastive) → autoencoder → U-Net → judge → a diffusers folder in
float16. A killed run goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from ..loading import load_pipeline
from . import WEIGHTS
from ._loop import Recipe
from .autoencoder import train_autoencoder
from .denoiser import shipped_scheduler, train_unet
from .judge import Judge
from .judge_training import train_judge
from .pool import ScenePool, load_pool
from .publish import publish
from .text_encoder import train_text_encoder
from .tokenizer import build_tokenizer

PICTURE_SIZE = 64
POOL = 32_000
# two to three hours on two CPU cores; with a GPU give it more (--scale)
RECIPES = {
    "text_encoder": Recipe(steps=1_400, batch=96, learning_rate=1e-3, ema_decay=0.99),
    "autoencoder": Recipe(steps=11_000, batch=16, learning_rate=2e-3),
    "judge": Recipe(steps=7_500, batch=48, learning_rate=1e-3, ema_decay=0.995),
    "judge_going_on": Recipe(steps=1_500, batch=48, learning_rate=5e-4, warmup=50, ema_decay=0.995),
    "unet": Recipe(steps=8_000, batch=32, learning_rate=1e-3, warmup=200),
    "unet_going_on": Recipe(steps=6_000, batch=32, learning_rate=6e-4, warmup=100),
}

STAGES = ("text_encoder", "autoencoder", "judge", "unet")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.train", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("tiny-training"), help="checkpoints, curves, drawn pictures")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the diffusers folder to write")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all", help="train one stage only, write nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of steps of every stage")
    parser.add_argument("--start-from", type=Path, help="a published model: train its U-Net on")
    parser.add_argument("--pool", type=int, default=POOL, help="how many scenes are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scenes: going on, take others")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    recipes = {name: _scaled(recipe, options.scale) for name, recipe in RECIPES.items()}
    pool = load_pool(options.work, options.pool, PICTURE_SIZE, options.seed)
    tokenizer = build_tokenizer([scene.caption for scene in pool.scenes], options.work / "tokenizer")
    device = torch.device(options.device)
    if options.stage == "text_encoder":
        train_text_encoder(tokenizer, pool, recipes["text_encoder"], options.work, device)
    elif options.stage == "autoencoder":
        train_autoencoder(pool, recipes["autoencoder"], options.work, device)
    elif options.stage == "judge":
        train_judge_of(pool, recipes, options.work, device, options.start_from)
    else:
        pipe = train_pipeline(tokenizer, pool, recipes, options.work, device, options.start_from)
        if options.stage == "all":
            judge = train_judge_of(pool, recipes, options.work, device, options.start_from)
            publish(pipe, (options.start_from or options.work) / "tokenizer", options.out)
            judge.to("cpu").save(options.out / "judge")


def train_judge_of(
    pool: ScenePool, recipes: dict[str, Recipe], work: Path, device: torch.device, start_from: Path | None = None
) -> Judge:
    """The judge, which needs the autoencoder; `start_from`: go on from a published model's, with its autoencoder."""
    if start_from is None:
        return train_judge(recipes["judge"], work, device, train_autoencoder(pool, recipes["autoencoder"], work, device))
    published, _ = load_pipeline(start_from, device, torch.float32)
    start = Judge.load(start_from / "judge").train()
    return train_judge(recipes["judge_going_on"], work, device, published.vae, start)


def train_pipeline(
    tokenizer: CLIPTokenizer,
    pool: ScenePool,
    recipes: dict[str, Recipe],
    work: Path,
    device: torch.device,
    start_from: Path | None = None,
) -> StableDiffusionPipeline:
    """All stages, each going on from its checkpoint in `work`; a stage that is complete returns at once.

    `start_from`: take tokenizer, text encoder and autoencoder of a published model as they are, and train on its U-Net.
    """
    start = None
    if start_from is not None:
        published, _ = load_pipeline(start_from, device, torch.float32)
        tokenizer, text_encoder, autoencoder = published.tokenizer, published.text_encoder, published.vae
        start = published.unet
    else:
        text_encoder = train_text_encoder(tokenizer, pool, recipes["text_encoder"], work, device)
        autoencoder = train_autoencoder(pool, recipes["autoencoder"], work, device)
    recipe = recipes["unet" if start is None else "unet_going_on"]
    unet = train_unet(tokenizer, text_encoder, autoencoder, pool, recipe, work, device, start)
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=shipped_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _scaled(recipe: Recipe, scale: float) -> Recipe:
    return replace(recipe, steps=max(1, round(recipe.steps * scale)), warmup=round(recipe.warmup * min(1, scale)))


if __name__ == "__main__":
    main()
