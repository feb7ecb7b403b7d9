"""One call of the stock pipeline for some rows of a batch; its results become events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from torch import Tensor

from ..attention.capture import Capture, captured
from ..attention.lens import lens_denoiser
from ..models.checks import ATTENTION_KWARGS, latents_size
from ..models.pipeline_state import dtype_restored
from ..models.view import own_scheduler
from ..runs.events import (
    Event,
    Failed,
    LayerImage,
    Message,
    NoiseDrawn,
    Preview,
    Snapshot,
    TokenFailed,
    TokenImage,
)
from ..runs.maps.maps import AttentionMaps
from ..runs.record import BLACKED_OUT
from .batch import Batch, BatchRow
from .noise import noise_hashes
from .prediction import Evaluation, tap
from .settings import SamplingSettings

_PREVIEW_SHARE = 0.15  # of the run's time may be spent on decoding previews


class Control(Protocol):
    """What a run reads from its job while it denoises."""

    focus: int | None
    """The displayed layer, to be denoised next."""

    @property
    def watched(self) -> bool:
        """Whether a listener wants previews."""

    def cancelled(self) -> bool:
        """Whether to stop."""


class Cancelled(Exception):
    """Raised in a scheduler step, to leave the denoising loop of the stock pipeline."""


class StockCall:
    """One call of the stock pipeline.

    Parameters
    ----------
    batch, settings, emit, control
        As for `denoise`.
    rows : dict of batch index → BatchRow
    size : int
        Number of rows in the batch; an index that is not in `rows` repeats one that is.
    progress : callable
        Called with the share 0..1 of this call's evaluations that is done, and the current denoising step.
    so_far : RunSoFar
        Shared by all calls of a run.
    """

    def __init__(
        self,
        batch: Batch,
        settings: SamplingSettings,
        emit: Callable[[Event], None],
        control: Control,
        rows: Mapping[int, BatchRow],
        size: int,
        progress: Callable[[float, int], None],
        so_far: RunSoFar,
    ) -> None:
        self.batch, self.settings, self.emit, self.control = batch, settings, emit, control
        self.view, self.rows, self.progress, self.so_far = batch.view, rows, progress, so_far
        self.layers = {index: row.layer for index, row in rows.items() if row.token is None}
        filler = next(iter(rows.values()))
        self.padded = [rows.get(index, filler) for index in range(size)]
        self.latents = torch.empty(0)
        self.unchecked: dict[int, list[Snapshot]] = {}  # layer → those that wait for the safety checker's last word

    def paint(self) -> None:
        """Denoise and decode the rows."""
        pipe = self.view.pipe
        self.progress(0.0, 0)
        vars(pipe)["scheduler"] = own_scheduler(self.view.scheduler)
        tap(pipe.scheduler, self.settings.num_inference_steps, self._after_evaluation)
        self.view.session.begin([self.batch.edit_of(row) for row in self.padded])
        vae = getattr(pipe, "vae", None)
        # if stock SDXL runs out of memory while it decodes, it leaves the VAE in float32, and the retry would fail
        changed = self.batch.denoiser(self.padded)
        with (
            nullcontext() if vae is None else dtype_restored(vae),
            changed,
            self._attention() as attention,
            self._compiled(),
        ):
            output = self.view.call(**self._arguments())
        maps = attention.maps if attention is not None else {}
        order = sorted(self.rows.items(), key=lambda at: (at[1].token is not None, not self._displayed(at[1].layer)))
        for index, row in order:
            self._finish(index, row, output.images[index], _flagged(output, index), maps.get(index))

    def _arguments(self) -> dict[str, Any]:
        settings, rows, family = self.settings, len(self.padded), self.view.family
        negative = self.batch.negative_prompt
        embeds, latents = settings.negative_prompt_embeds, settings.latents
        arguments = {
            **dict.fromkeys(ATTENTION_KWARGS, settings.cross_attention_kwargs),
            "prompt": [self.batch.prompt] * rows,
            "negative_prompt_embeds": None if embeds is None else self._repeated(embeds),
            "height": settings.height,
            "width": settings.width,
            "num_inference_steps": settings.num_inference_steps,
            "true_cfg_scale": settings.true_cfg_scale,
            "guidance_rescale": settings.guidance_rescale,
            "eta": settings.eta,
            "generator": [settings.new_generator() for _ in self.padded],
            "latents": None if latents is None else family.latents.pack(self._repeated(latents)),
            "output_type": "np",
        }
        if negative is not None and embeds is None:
            arguments["negative_prompt"] = [negative] * rows
        arguments |= {family.guidance: settings.guidance_scale, **family.arguments}
        accepted = family.call_defaults(self.view.pipe)
        return {name: value for name, value in arguments.items() if name in accepted and value is not None}

    def _repeated(self, tensor: Tensor) -> Tensor:
        like = self.view.session.encoded(self.view.encoder.name).states
        return tensor.to(like).repeat(len(self.padded), *[1] * (tensor.ndim - 1))

    def _attention(self) -> AbstractContextManager[Capture | None]:
        """Capture the attention of the whole prompt's rows, if requested."""
        plan = self.batch.plan
        if plan is None or not self.layers:
            return nullcontext()
        denoiser = lens_denoiser(self.view.pipe, self.view.family, self.view.encoder, len(self.padded))
        return captured(denoiser, lambda *_: dict.fromkeys(self.layers, plan))

    def _compiled(self) -> AbstractContextManager[None]:
        """Take the compiled denoiser, if the run has one."""
        compiled = self.batch.compiled
        return nullcontext() if compiled is None else compiled.in_use(self.view.pipe, len(self.padded))

    def _after_evaluation(self, now: Evaluation) -> None:
        if self.control.cancelled():
            raise Cancelled
        now = self._unpacked(now)
        self.latents = now.latents
        if now.number == 1:
            self.emit(NoiseDrawn(noise_hashes(now.sample[0], self.settings)))
        if now.ends_step:
            self._end_step(now)
        if now.number < now.total and self.control.watched:
            self._preview(now)
        self.progress(now.number / now.total, min(now.step + 1, self.settings.num_inference_steps))

    def _unpacked(self, now: Evaluation) -> Evaluation:
        """The evaluation with its latents as images."""
        size = latents_size(self.view.pipe, self.settings.height, self.settings.width)
        unpack = self.view.family.latents.unpack
        return replace(now, latents=unpack(now.latents, size), prediction=unpack(now.prediction, size))

    def _end_step(self, now: Evaluation) -> None:
        """Call the caller's `on_step`, and decode the requested snapshots; after a retry only those that are new."""
        if self.settings.on_step:
            for index, layer in self.layers.items():
                if self.so_far.is_new("on_step", layer, now.step):
                    self.so_far.note("on_step", layer, now.step)  # never twice, also if it fails itself
                    self.settings.on_step(layer, now.step, now.timestep, now.latents[index : index + 1].clone())
        if now.step in self.settings.snapshots:
            new = [at for at in self._displayed_first() if self.so_far.is_new("snapshot", at[1], now.step)]
            images = self._decode(now.prediction[[index for index, _ in new]]) if new else []
            for (_, layer), (image, flagged) in zip(new, images, strict=True):
                snapshot = Snapshot(layer, now.step, image, flagged)
                if self.view.has_safety_checker:
                    self.unchecked.setdefault(layer, []).append(snapshot)
                else:
                    self.emit(snapshot)
                    self.so_far.note("snapshot", layer, now.step)

    def _displayed(self, layer: int) -> bool:
        return layer == self.control.focus

    def _displayed_first(self) -> list[tuple[int, int]]:
        """(batch index, layer) of the whole prompt's rows; the displayed layer may have changed during the call."""
        return sorted(self.layers.items(), key=lambda item: not self._displayed(item[1]))

    def _preview(self, now: Evaluation) -> None:
        """Decode the displayed layer's preview, and the others while this takes a small part of the time."""
        budget = self.so_far.budget
        for number, (index, layer) in enumerate(self._displayed_first()):
            if number and self.control.cancelled():
                raise Cancelled
            if not budget.allows() and not (now.number == 1 and number == 0):
                return
            with budget:
                image, _ = self._decode(now.prediction[index : index + 1])[0]
            self.emit(Preview(layer, now.step + 1, self.settings.num_inference_steps, image))

    def _decode(self, latents: Tensor) -> list[tuple[Image.Image, bool]]:
        """The image of each row, and whether it is black because the safety checker flagged it."""
        pixels = self.view.decode(latents)
        flags = self.view.flags(pixels)
        images = map(self._to_pil, pixels)
        return [(_black(image) if flag else image, flag) for image, flag in zip(images, flags, strict=True)]

    def _to_pil(self, pixels: np.ndarray) -> Image.Image:
        return VaeImageProcessor.numpy_to_pil(np.nan_to_num(pixels))[0]

    def _finish(self, index: int, row: BatchRow, pixels: np.ndarray, flagged: bool, maps: AttentionMaps | None) -> None:
        """Emit the image of one row, or why it has none; `index` is its batch index."""
        latents, (layer, token) = self.latents[index], row
        name = self.batch.name_of(layer, token)
        if not (np.isfinite(pixels).all() and torch.isfinite(latents).all()):
            dtype = str(latents.dtype).removeprefix("torch.")
            advice = "; load the model with dtype=torch.float32" if latents.dtype == torch.float16 else ""
            message = f"{name}: the picture is not finite (NaN or infinity, {dtype}){advice}"
            self.emit(Failed(layer, message) if token is None else TokenFailed(layer, token, message))
            return
        if flagged:
            self.emit(Message(f"{name}: {BLACKED_OUT}"))
        image = self._to_pil(pixels)
        if token is not None:
            self.emit(TokenImage(layer, token, image, flagged))
            return
        for snapshot in self.unchecked.get(layer, ()):
            self.emit(replace(snapshot, image=_black(snapshot.image), flagged=True) if flagged else snapshot)
        self.emit(LayerImage(layer, image, latents.float().cpu().numpy(), maps, flagged))


class PreviewBudget:
    """Limits the decoding of previews to a small part of the run's time."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._entered = 0.0
        self.seconds = 0.0

    def allows(self) -> bool:
        """Whether one more preview may be decoded."""
        return self.seconds <= _PREVIEW_SHARE * (time.monotonic() - self._began)

    def __enter__(self) -> None:
        self._entered = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.monotonic() - self._entered


class RunSoFar:
    """What all calls of a run share: the budget of previews, and what a call that ran out of memory has told already.

    The retry of such a call denoises its rows from the first step on.
    """

    def __init__(self) -> None:
        self.budget = PreviewBudget()
        self._told: set[tuple[str, int, int]] = set()

    def is_new(self, what: str, layer: int, step: int) -> bool:
        """Whether `what` of a layer at a denoising step was not noted yet."""
        return (what, layer, step) not in self._told

    def note(self, what: str, layer: int, step: int) -> None:
        """Note that the caller has got `what`."""
        self._told.add((what, layer, step))


def _black(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size)


def _flagged(output: Any, row: int) -> bool:
    flags = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
    return bool(flags and flags[row])
