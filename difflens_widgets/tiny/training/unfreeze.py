"""Does the text encoder gain by learning along? ``python -m difflens_widgets.tiny.training.unfreeze --work FOLDER``.

One published model is fine-tuned twice with the same pictures, noise and number of steps: in one the text encoder
stays as it is, in the other it learns along, at a tenth of the U-Net's rate. Both are written as diffusers folders, to
be scored with ``python -m difflens_widgets.tiny.evaluation.score --model FOLDER/thawed/model``; losses are printed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from ...models.loading import WEIGHTS, load_pipeline
from ..drawing import SIZE
from .cores import parts_of
from .curves import read_curve
from .dataset import ScenePool, load_pool
from .layout import ReadingUNet, layout_maps
from .loop import StageConfig, fit
from .publish import publish
from .unet import MUON, encode_pool
from .unet_loss import Batch, DenoisingTask, loss_of

_RATE = 0.1


class Learning(nn.Module):
    """The U-Net with its reading head, and the text encoder, frozen or thawed."""

    def __init__(self, reading: ReadingUNet, text_encoder: CLIPTextModel, thawed: bool) -> None:
        super().__init__()
        self.reading = reading
        self.text_encoder = text_encoder.requires_grad_(thawed)


def finetune(
    pipe: Any,
    pool: ScenePool,
    latents: Tensor,
    config: StageConfig,
    folder: Path,
    device: torch.device,
    *,
    thawed: bool,
) -> None:
    """Train `pipe`'s U-Net on, and with `thawed` its text encoder; both are then those of the moving average."""
    torch.manual_seed(config.seed + 2)  # as `train_unet`: the U-Net's features are used to the head that this gives
    model = Learning(ReadingUNet(pipe.unet), pipe.text_encoder, thawed).to(device)
    task, maps = DenoisingTask(device), layout_maps(pool.scenes)
    captions = [scene.caption for scene in pool.scenes]

    def loss_of_step(step: int, generator: torch.Generator) -> list[Callable[[], Tensor]]:
        def loss_of_part(part: Batch) -> Tensor:
            given = zip(part.scene.tolist(), part.told.tolist(), strict=True)
            texts = [captions[scene] if told else "" for scene, told in given]
            ids = pipe.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
            return loss_of(model.reading, part, model.text_encoder(ids.to(device)).last_hidden_state)

        batch = task.batch(latents, maps, config.batch, generator)
        return [partial(loss_of_part, part) for part in batch.parts(parts_of(device))]

    average = fit(model, loss_of_step, config, folder, "unet")
    pipe.unet, pipe.text_encoder = average.reading.without_head(), average.text_encoder


def main(arguments: list[str] | None = None) -> None:
    """Train both and print the losses of both."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.training.unfreeze", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, curves, the two models")
    parser.add_argument("--start-from", type=Path, default=WEIGHTS, help="a published model")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pool", type=int, default=8_000, help="how many scenes are drawn")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn scenes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    device = torch.device(options.device)
    inner = tuple(f"reading.{prefix}" for prefix in MUON)
    config = StageConfig(
        options.steps, 32, learning_rate=4e-4, warmup=50, rates=(("text_encoder.", _RATE),), muon=inner
    )
    pool = load_pool(options.work, options.pool, SIZE, options.seed)
    latents = encode_pool(pool, load_pipeline(options.start_from, device, torch.float32)[0].vae, device)
    for name in ("frozen", "thawed"):
        pipe, _ = load_pipeline(options.start_from, device, torch.float32)
        folder = options.work / name
        finetune(pipe, pool, latents, config, folder, device, thawed=name == "thawed")
        publish(pipe, options.start_from / "tokenizer", folder / "model")
    curves = [dict(zip(*read_curve(options.work / name / "unet.jsonl"), strict=True)) for name in ("frozen", "thawed")]
    sys.stdout.write("step    frozen  thawed\n")
    for step in sorted(curves[0].keys() & curves[1].keys()):
        sys.stdout.write(f"{step:5}  {curves[0][step]:.4f}  {curves[1][step]:.4f}\n")


if __name__ == "__main__":
    main()
