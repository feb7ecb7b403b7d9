"""The kernel's half of ``difflens bench channel``: widgets of a run and of a training that nobody had to paint.

No torch. The pictures are one photograph, different in each layer, step and epoch: their sizes in bytes are those of
photographs, which a drawing's would not be.
"""

from __future__ import annotations

import json
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

from ...dreambooth.history.events import EpochValidated, LossLogged, ValidationPrompt
from ...dreambooth.history.history import TrainingHistory
from ...runs.events import Done, LayerImage, Preview, Progress, Snapshot
from ...runs.format.atomic_write import replacing
from ...runs.job import LensJob
from ...runs.run import LensRun
from ...runs.tokens import Token
from ...widgets.epoch_scrubber import EpochScrubber
from ...widgets.layer_slider import LayerSlider

PROMPT = "a photo of an officer"
LAYERS, STEPS, EPOCHS = 13, 20, 8
SIDE = 512
"""Pixels a side of the run's pictures; those of the training have half of it, as a scrubber shows them."""
FIGURES = "figures.json"
"""The file beside the notebook that `figures` writes."""
_BATCH = 7  # layers at once, as on a CPU
_PAUSE = 0.2  # seconds of a denoising step


@cache
def _photo(side: int) -> np.ndarray:
    """The photograph that matplotlib brings along, float32 (side, side, 3), 0..255."""
    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as image:
        square = image.convert("RGB").crop((0, 20, 512, 532)).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(square, np.float32)


def picture(layer: int, done: float = 1.0, epoch: int = 0, side: int = SIDE) -> Image.Image:
    """The photograph in the colors of a layer and an epoch; `done`, 0..1, is how little noise is left in it."""
    colors = 0.8 + 0.2 * np.cos(0.5 * layer + 0.7 * epoch + np.arange(3) * 2.1)
    pixels = np.roll(_photo(side), (7 * layer, 11 * epoch), (0, 1)) * colors
    if done < 1:
        noise = np.random.default_rng([layer, epoch]).normal(128, 50, (side // 8, side // 8, 3))
        pixels = done * pixels + (1 - done) * noise.repeat(8, 0).repeat(8, 1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def run_slider() -> LayerSlider:
    """A LayerSlider of a job that paints 13 layers and keeps 20 snapshots of each."""
    return LayerSlider(LensJob(_empty_run(range(STEPS)), _work).start())


def figures(slider: LayerSlider) -> None:
    """Write what the channel of a slider sent, once its job is done; returns at once, as the browser has to answer."""
    threading.Thread(target=_write_figures, args=(slider,), daemon=True).start()


def _write_figures(slider: LayerSlider) -> None:
    began = time.monotonic()
    while slider.status == "running":
        time.sleep(0.05)
    frames, channel = slider._frames, slider._channel
    found = {
        **{"status": slider.status, "seconds": time.monotonic() - began},
        **{"layers": LAYERS, "snapshots": STEPS, "epochs": EPOCHS},
        **{"frames": channel.frames_sent, "bytes": channel.bytes_sent},
        **{"previews": LAYERS * (STEPS - 1), "previews_sent": channel.frames_sent - channel.finished_sent},
        "finished": [len(frames[f"layer/{layer}"]["data"]) for layer in range(LAYERS)],
        "bytes_at_end": sum(len(frame["data"]) for frame in frames.values()),
    }
    with replacing(Path(FIGURES), "the figures") as file:
        file.write(json.dumps(found).encode())


def scrubber() -> EpochScrubber:
    """An EpochScrubber of a finished training of 8 epochs."""
    prompt = ValidationPrompt(PROMPT, "instance")
    history = TrainingHistory.create(
        Path("training"),
        config={"num_train_epochs": EPOCHS - 1, "diffusion_lens_epochs": 1},
        model="a photograph",
        model_hash="",
        validation_prompts=[prompt],
    )
    for epoch in range(EPOCHS):
        if epoch:
            history.record(LossLogged(epoch, epoch, {"loss": 1 / epoch, "learning_rate": 1e-4}))
        run = _empty_run()
        run.images = {layer: picture(layer, epoch=epoch, side=SIDE // 2) for layer in run.layers}
        run.status = "done"
        history.record(EpochValidated(epoch, 0, run))
    history.record(Done("done"))
    return EpochScrubber(history)


def _empty_run(snapshots: range = range(0)) -> LensRun:
    words = [Token(index + 1, word, "word") for index, word in enumerate(PROMPT.split())]
    tokens = (Token(0, "<|startoftext|>", "bos"), *words, Token(len(words) + 1, "<|endoftext|>", "eos"))
    settings = {"num_inference_steps": STEPS, "guidance_scale": 7.5, "model": "a photograph"}
    return LensRun(PROMPT, tokens, tuple(range(LAYERS)), LAYERS, 0, {**settings, "snapshots": list(snapshots)})


def _work(job: LensJob) -> None:
    """Emit what a run emits: at every step a preview and a snapshot of each layer of the batch."""
    for first in range(0, LAYERS, _BATCH):
        now = tuple(range(first, min(first + _BATCH, LAYERS)))
        for step in range(1, STEPS + 1):
            time.sleep(_PAUSE)
            job.emit(Progress(len(job.run.images), LAYERS, now, step, STEPS, None))
            for layer in now:
                image = picture(layer, step / STEPS)
                job.emit(Snapshot(layer, step - 1, image))
                if step < STEPS:
                    job.emit(Preview(layer, step, STEPS, image))
        for layer in now:
            job.emit(LayerImage(layer, picture(layer)))
    job.emit(Progress(LAYERS, LAYERS, (), STEPS, STEPS, None))
