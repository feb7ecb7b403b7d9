"""Trains the embedded model from nothing.

``python -m difflens_widgets.tiny.training.train --work FOLDER --out FOLDER``

Stages: draw scenes → tokenizer → text encoder (contrastive) → autoencoder → image encoder → judge → U-Net → a
diffusers folder in float16. A killed run goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from ...models.loading import WEIGHTS, load_pipeline
from ...models.sampling_defaults import SamplingDefaults
from ..clip import SmallClip
from ..drawing import SIZE
from ..judge import Judge
from .autoencoder import train_autoencoder, train_decoder
from .dataset import ScenePool, balanced_scene, load_pool
from .image_encoder import train_image_encoder
from .judge_training import train_judge
from .loop import StageConfig
from .publish import publish
from .scene_stream import BLOCK, WINDOW, SceneStream
from .text_encoder import train_text_encoder
from .tokenizer import build_tokenizer
from .unet import MUON as UNET_MUON
from .unet import encode_captions, scene_encoder, shipped_scheduler, train_unet

PICTURE_SIZE = SIZE
SAMPLING = SamplingDefaults(num_inference_steps=20, guidance_scale=4.0)
"""At 7.5 some backgrounds blotch, and fewer pictures are right."""
POOL = 24_000
# two to three hours on two CPU cores; with a GPU give it more (--scale)
STAGE_CONFIGS = {
    "text_encoder": StageConfig(steps=1_000, batch=64, learning_rate=7e-4, ema_decay=0.99),
    "text_encoder_finetune": StageConfig(steps=800, batch=64, learning_rate=3e-4, warmup=50, ema_decay=0.99),
    "autoencoder": StageConfig(steps=6_000, batch=8, learning_rate=1.5e-3),
    "decoder": StageConfig(steps=4_000, batch=8, learning_rate=1e-3, muon=("decoder.mid_block", "decoder.up_blocks")),
    "image_encoder": StageConfig(steps=1_000, batch=128, learning_rate=5e-4, warmup=50, ema_decay=0.99),
    "judge": StageConfig(steps=7_500, batch=48, learning_rate=2e-3, ema_decay=0.995, muon=("down", "up")),
    "judge_finetune": StageConfig(
        steps=1_500, batch=48, learning_rate=1e-3, warmup=50, ema_decay=0.995, muon=("down", "up")
    ),
    "unet": StageConfig(steps=8_000, batch=32, learning_rate=1e-3, warmup=200, muon=UNET_MUON),
    "unet_finetune": StageConfig(steps=10_000, batch=32, learning_rate=8e-4, decay=1_500, muon=UNET_MUON),
}

STAGES = ("text_encoder", "autoencoder", "image_encoder", "judge", "unet")
KEEPABLE = ("text_encoder", "autoencoder", "judge")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.training.train", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("tiny-training"), help="checkpoints, curves, drawn pictures")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the diffusers folder to write")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all", help="train one stage only, write nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the number of steps of every stage")
    parser.add_argument("--start-from", type=Path, help="a published model: train it on")
    parser.add_argument(
        "--keep", choices=KEEPABLE, nargs="+", default=[], help="take these of --start-from as they are"
    )
    parser.add_argument(
        "--unet-steps", type=int, help="of the U-Net in all; in fine-tuning, the rate falls in the last 1,500"
    )
    parser.add_argument("--init-from", type=Path, help="a published model of another world: begin with its weights")
    parser.add_argument("--pool", type=int, default=POOL, help="how many scenes are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn scenes: to fine-tune, take others")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    configs = {name: _scaled(config, options.scale) for name, config in STAGE_CONFIGS.items()}
    if options.unet_steps is not None:
        configs |= {name: replace(configs[name], steps=options.unet_steps) for name in ("unet", "unet_finetune")}
    pool = load_pool(options.work, options.pool, PICTURE_SIZE, options.seed, balanced_scene)
    tokenizer = build_tokenizer([scene.caption for scene in pool.scenes], options.work / "tokenizer")
    device = torch.device(options.device)
    stages = Stages(
        *(options.work, device, configs, pool, tokenizer),
        **{"start_from": options.start_from, "init_from": options.init_from, "keep": frozenset(options.keep)},
        seed=options.seed,
    )
    if options.stage != "all":
        getattr(stages, options.stage)()
        return
    clip, judge = stages.image_encoder(), stages.judge()
    pipe = stages.pipeline()
    publish(pipe, (options.start_from or options.work) / "tokenizer", options.out, SAMPLING)
    judge.to("cpu").save(options.out / "judge")
    clip.to("cpu").save(options.out)


@dataclass(frozen=True)
class Stages:
    """All stages, each going on from its checkpoint in `work`; a stage that is complete returns at once.

    `start_from` is a published model of this world: its tokenizer and latents are taken as they are, and so are the
    parts named in `keep`; all else is trained on. `init_from` is one of another world, with
    pictures half as large: every stage begins with its weights, as far as these mean the same.
    """

    work: Path
    device: torch.device
    configs: dict[str, StageConfig]
    pool: ScenePool
    own_tokenizer: CLIPTokenizer
    start_from: Path | None = None
    init_from: Path | None = None
    keep: frozenset[str] = frozenset()
    seed: int = 0

    @cached_property
    def published(self) -> Any:
        """The pipeline in the folder `start_from` or `init_from`; None without."""
        folder = self.start_from or self.init_from
        return load_pipeline(folder, self.device, torch.float32)[0] if folder else None

    @property
    def tokenizer(self) -> CLIPTokenizer:
        """The published one, or one made from the captions."""
        return self.published.tokenizer if self.start_from else self.own_tokenizer

    def text_encoder(self) -> SmallClip:
        """The text encoder, with the image encoder that it was trained with."""
        start: tuple[CLIPTokenizer, CLIPTextModel] | SmallClip | None = None
        config = self.configs["text_encoder_finetune" if self.start_from else "text_encoder"]
        if self.start_from:
            start = SmallClip.load(self.start_from)
            if "text_encoder" in self.keep:
                return start.to(self.device)
        elif self.init_from:
            start = self.published.tokenizer, self.published.text_encoder
        return train_text_encoder(self.tokenizer, self.pool, config, self.work, self.device, start)

    def autoencoder(self) -> AutoencoderKL:
        """The autoencoder; of a published one the decoder learns on, so that its latents stay the same."""
        if "autoencoder" in self.keep:
            return self.published.vae
        if self.start_from:
            return train_decoder(self.pool, self.configs["decoder"], self.work, self.device, self.published.vae)
        known = self.published.vae if self.init_from else None
        return train_autoencoder(self.pool, self.configs["autoencoder"], self.work, self.device, known)

    def image_encoder(self) -> SmallClip:
        """The small CLIP, whose image encoder has learnt to read what the autoencoder paints."""
        config = self.configs["image_encoder"]
        return train_image_encoder(self.text_encoder(), self.pool, self.autoencoder(), config, self.work, self.device)

    def judge(self) -> Judge:
        """The judge, whose training pictures are augmented with what the autoencoder paints."""
        if self.start_from and "judge" in self.keep:
            return Judge.load(self.start_from / "judge").to(self.device)
        start = Judge.init_from(self.init_from / "judge") if self.init_from else None
        config = self.configs["judge"]
        if self.start_from and (self.start_from / "judge").is_dir():
            start, config = Judge.load(self.start_from / "judge").train(), self.configs["judge_finetune"]
        return train_judge(config, self.work, self.device, self.autoencoder(), start, len(self.pool.scenes))

    def unet(self) -> UNet2DConditionModel:
        """The U-Net."""
        config = self.configs["unet_finetune" if self.start_from else "unet"]
        text_encoder, start = self.text_encoder().text, self.published.unet if self.published else None
        autoencoder = self.published.vae if self.start_from else self.autoencoder()
        encode = scene_encoder(self.tokenizer, text_encoder, autoencoder, self.seed, self.device)
        empty = encode_captions([""], self.tokenizer, text_encoder, self.device)
        block = min(BLOCK, len(self.pool.scenes))
        stream = SceneStream(encode, self.device, block, min(WINDOW, len(self.pool.scenes) // block))
        return train_unet(stream, empty, config, self.work, self.device, start)

    def pipeline(self) -> StableDiffusionPipeline:
        """All of them together."""
        return StableDiffusionPipeline(
            vae=self.autoencoder(),
            text_encoder=self.text_encoder().text,
            tokenizer=self.tokenizer,
            unet=self.unet(),
            scheduler=shipped_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def _scaled(config: StageConfig, scale: float) -> StageConfig:
    return replace(config, steps=max(1, round(config.steps * scale)), warmup=round(config.warmup * min(1, scale)))


if __name__ == "__main__":
    main()
