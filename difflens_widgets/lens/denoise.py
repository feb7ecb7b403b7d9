"""From text-encoder layers to pictures: rows in chunks through the stock diffusers pipeline.

Every forward has one canonical number of rows (the chunk), padded where rows run out, so that a picture is the same
to the byte whichever others were asked for. Each row gets a generator of its own, all seeded alike: the same latents
and, with stochastic schedulers, the same noise at every step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..attention.capture import Capture, captured
from ..attention.unet import UNetDenoiser
from ..models.pipeline_state import dtype_restored, quiet, watched_predictions
from ..runs.events import Failed, LayerImage, Message, Preview, Progress, Snapshot, TokenFailed, TokenImage
from ..runs.job import LensJob
from ..runs.maps.maps import AttentionMaps
from .batch import Conditioned, Row, StepListener

_PREVIEW_SHARE = 0.15  # of the run's time may go into decoding previews
_STRIDE = 4  # after the layer on screen, every fourth


@dataclass(frozen=True)
class Denoising:
    """How all rows of a run are denoised; names and meaning as in the stock pipeline.

    A generator in place of the seed gives each row its state. `on_step` hears of every layer of the whole prompt.
    """

    seed: int | torch.Generator
    steps: int
    guidance_scale: float
    height: int
    width: int
    batch_size: int
    latents: Tensor | None = None
    snapshots: frozenset[int] = frozenset()
    guidance_rescale: float = 0.0
    eta: float = 0.0
    cross_attention_kwargs: Mapping[str, Any] | None = None
    negative_prompt_embeds: Tensor | None = None
    on_step: StepListener | None = None

    @property
    def lora_scale(self) -> float | None:
        """The strength of LoRA weights in the text encoder, given as the stock pipeline is."""
        return (self.cross_attention_kwargs or {}).get("scale")


class _Cancelled(Exception):
    """Leaves the stock pipeline's loop from within its step callback."""


def denoise(prompt: Conditioned, settings: Denoising, job: LensJob) -> None:
    """Paint all layers of `job.run`, the one on screen first, and tell `job` of everything on the way.

    Pictures of single tokens come after those of the whole prompt.

    Returns early, with what is painted, when the job is cancelled. Out of memory: halves the chunk and goes on.
    """
    chunk = settings.batch_size
    remaining = [Row(layer, token) for token in (None, *job.run.token_masks) for layer in job.run.layers]
    clock = _Clock(len(remaining), settings.steps)
    if job.run.attention is not None and job.run.attention.plan.note:
        job.emit(Message(job.run.attention.plan.note))
    while remaining and not job.cancelled():
        rows = next_rows(remaining, chunk, job.focus, job.run.num_layers)
        try:
            _Chunk(prompt, settings, job, rows, chunk, clock).paint()
        except _Cancelled:
            return
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error) or chunk == 1:
                raise
            chunk //= 2
            job.run.settings["batch_size"] = chunk
            job.emit(Message(f"out of memory: going on with {chunk} layer{'s' * (chunk > 1)} at a time"))
            torch.cuda.empty_cache()
            continue
        remaining = [row for row in remaining if row not in rows.values()]
        clock.finished += len(rows)


def next_rows(remaining: Sequence[Row], chunk: int, focus: int | None, num_layers: int) -> dict[int, Row]:
    """The rows to paint next, by their place in the batch: the layer on screen, then every fourth, then the rest.

    First those of the whole prompt, then those of single tokens in the order asked.
    """
    order = _layer_order(num_layers)

    def rank(row: Row) -> tuple[bool, bool, int]:
        return row.token is not None, row.layer != focus, order.index(row.layer)

    chosen: dict[int, Row] = {}
    for row in sorted(remaining, key=rank):
        chosen.setdefault(place(row, chunk, num_layers), row)
    return chosen


def place(row: Row, chunk: int, num_layers: int) -> int:
    """Where in the batch a row is always denoised: with several threads its last bits depend on that, too."""
    shift = row.token if isinstance(row.token, int) else 0  # else one layer's tokens would all want the same place
    return (_layer_order(num_layers).index(row.layer) + shift) % chunk


def _layer_order(num_layers: int) -> list[int]:
    """Every fourth layer counted from the last, then the rest."""
    last = num_layers - 1
    return sorted(range(num_layers), key=lambda layer: ((last - layer) % _STRIDE != 0, last - layer))


def _out_of_memory(error: BaseException) -> bool:
    # on a CPU torch raises a plain RuntimeError
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


@dataclass
class _Clock:
    """Tells how long the run will still take from how long its steps took."""

    rows: int
    steps: int
    finished: int = 0
    began: float = field(default_factory=time.monotonic)
    previews: float = 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def seconds_left(self, rows: int, step: int) -> float:
        done = self.finished + rows * step / self.steps
        return self.elapsed * (self.rows - done) / done


class _Chunk:
    """One call of the stock pipeline."""

    def __init__(
        self,
        prompt: Conditioned,
        settings: Denoising,
        job: LensJob,
        rows: dict[int, Row],
        size: int,
        clock: _Clock,
    ) -> None:
        self.conditioning = prompt.conditioning
        self.pipe, self.settings, self.job, self.rows, self.clock = prompt.conditioning.pipe, settings, job, rows, clock
        self.layers = {index: row.layer for index, row in rows.items() if row.token is None}
        filler = next(iter(rows.values()))
        padded = [rows.get(index, filler) for index in range(size)]
        self.conditions = prompt.call_kwargs(padded, job.run.token_masks)
        self.generators = [_generator(settings.seed) for _ in padded]
        self.prediction: Tensor | None = None
        self.latents = torch.empty(0)
        self.attention: dict[int, AttentionMaps] = {}

    def paint(self) -> None:
        """Denoise and decode this chunk's rows."""
        settings = self.settings
        self._tell_progress(0)
        watched = watched_predictions(self.pipe.scheduler, self._keep_prediction)
        # out of memory in its decoding, stock SDXL leaves the VAE in float32 and could not go on with half the rows
        with quiet(self.pipe), watched, dtype_restored(self.pipe.vae), self._attention() as attention:
            try:
                output = self.conditioning.stock_call(
                    **self.conditions,
                    height=settings.height,
                    width=settings.width,
                    num_inference_steps=settings.steps,
                    guidance_scale=settings.guidance_scale,
                    guidance_rescale=settings.guidance_rescale,
                    eta=settings.eta,
                    cross_attention_kwargs=settings.cross_attention_kwargs,
                    generator=self.generators,
                    latents=None if settings.latents is None else self._repeated(settings.latents),
                    callback_on_step_end=self._after_step,
                    output_type="np",
                )
            finally:
                self.pipe.maybe_free_model_hooks()
        self.attention = attention.maps if attention is not None else {}
        for index, row in self.rows.items():
            self._finish(index, row, output.images[index], self._flagged(output, index))
        self._tell_progress(settings.steps)  # the last word counts these pictures too

    def _attention(self) -> AbstractContextManager[Capture | None]:
        """Capture where the words of the whole prompt's rows are looked at, if that was asked for."""
        asked = self.job.run.attention
        if asked is None or not self.layers:
            return nullcontext()
        return captured(UNetDenoiser(self.pipe), lambda *_: dict.fromkeys(self.layers, asked.plan))

    def _finish(self, index: int, row: Row, pixels: np.ndarray, flagged: bool) -> None:
        """Enter one row's picture, or why there is none; `index` is its place in the batch."""
        latents, (layer, token) = self.latents[index], row
        name = row.described(self.job.run.name_of(layer))
        if not (np.isfinite(pixels).all() and torch.isfinite(latents).all()):
            dtype = str(latents.dtype).removeprefix("torch.")
            advice = "; load the model with dtype=torch.float32" if latents.dtype == torch.float16 else ""
            message = f"{name}: the picture is not finite (NaN or infinity, {dtype}){advice}"
            self.job.emit(Failed(layer, message) if token is None else TokenFailed(layer, token, message))
            return
        if flagged:
            self.job.emit(Message(f"{name}: the pipeline's safety checker blacked the picture out"))
        if token is None:
            self.job.run.latents[layer] = latents.float().cpu().numpy()
            if self.job.run.attention is not None:
                self.job.run.attention.add(layer, self.attention[index])
            self.job.emit(LayerImage(layer, self._to_pil(pixels)))
        else:
            self.job.emit(TokenImage(layer, token, self._to_pil(pixels)))

    @staticmethod
    def _flagged(output: Any, row: int) -> bool:
        flags = getattr(output, "nsfw_content_detected", None)
        return bool(flags and flags[row])

    def _after_step(self, pipe: Any, index: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.job.cancelled():
            raise _Cancelled
        step = min(index + 1, self.settings.steps)  # second-order schedulers call twice a step
        self.latents = tensors["latents"]
        shown = self.prediction if self.prediction is not None else self.latents
        order = pipe.scheduler.order
        if (index + 1) % order == 0 or index == pipe.num_timesteps - 1:
            self._end_step(index // order, timestep, shown)
        if step < self.settings.steps and self.job.watched:
            self._preview(step, shown)
        self._tell_progress(step)
        return {}

    def _end_step(self, step: int, timestep: Tensor, shown: Tensor) -> None:
        """Tell the caller's listener, and keep the prediction where that was asked for; 0 is the first step."""
        if self.settings.on_step:
            for row, layer in self.layers.items():
                self.settings.on_step(layer, step, timestep, self.latents[row : row + 1].clone())
        if step in self.settings.snapshots and self.layers:
            for layer, image in zip(self.layers.values(), self._decode(shown[list(self.layers)]), strict=True):
                self.job.emit(Snapshot(layer, step, image))

    def _preview(self, step: int, prediction: Tensor) -> None:
        """Decode the picture on screen, and the others too, while that stays a small part of the time."""
        for number, (row, layer) in enumerate(self.layers.items()):
            if number and self.job.cancelled():
                raise _Cancelled
            if self.clock.previews > _PREVIEW_SHARE * self.clock.elapsed and not (step == 1 and number == 0):
                return
            began = time.monotonic()
            image = self._decode(prediction[row : row + 1])[0]
            self.clock.previews += time.monotonic() - began
            self.job.emit(Preview(layer, step, self.settings.steps, image))

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        pixels = self.conditioning.decode(latents)
        return [self._to_pil(row) for row in self.pipe.image_processor.postprocess(pixels, output_type="np")]

    def _to_pil(self, pixels: np.ndarray) -> Image.Image:
        return self.pipe.image_processor.numpy_to_pil(np.nan_to_num(pixels))[0]

    def _keep_prediction(self, prediction: Tensor | None) -> None:
        self.prediction = prediction

    def _repeated(self, latents: Tensor) -> Tensor:
        return latents.to(self.conditions["prompt_embeds"]).repeat(len(self.generators), 1, 1, 1)

    def _tell_progress(self, step: int) -> None:
        run = self.job.run
        left = self.clock.seconds_left(len(self.rows), step) if step or self.clock.finished else None
        done, tokens_done = len(run.images) + len(run.failures), len(run.token_images) + len(run.token_failures)
        tokens_total = len(run.layers) * len(run.token_masks)
        layers, steps = tuple(self.layers.values()), self.settings.steps
        tokens = tuple((layer, token) for layer, token in self.rows.values() if token is not None)
        self.job.emit(Progress(done, len(run.layers), layers, step, steps, left, tokens_done, tokens_total, tokens))


def _generator(seed: int | torch.Generator) -> torch.Generator:
    if isinstance(seed, int):
        return torch.Generator().manual_seed(seed)
    copy = torch.Generator(seed.device)
    copy.set_state(seed.get_state())
    return copy


def default_batch_size(pipe: Any) -> int:
    """All of SD 1.5's layers at once on an accelerator; on a CPU only small models gain from batching."""
    if pipe.device.type != "cpu":
        return 13
    return 7 if sum(parameter.numel() for parameter in pipe.unet.parameters()) < 50_000_000 else 1
