"""Creates one job for each prompt: its record, and the work of its worker thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from ..attention.capture import AttentionChoice
from ..attention.lens import lens_attention
from ..models import Family, TextEncoder
from ..models.known_modules import one_look
from ..models.known_words import unknown_words
from ..models.view import PipelineView
from ..models.weight_hash import weight_hash
from ..runs.caller import warn_caller
from ..runs.events import Encoded, Event, Failed, LayerImage, Message, Preview, Progress, Snapshot
from ..runs.job import LensJob
from ..runs.notes import cut_note
from ..runs.run import LensRun
from ..runs.tokens import Token, TokenKey
from ..runs.variant import Variant
from .batch import Batch
from .batch_size import BatchChoice, settings_that_fit
from .cache import open_cache
from .compiled import CompiledDenoiser, NotCompiled
from .denoise import denoise
from .empty_positions import positions_in_empty
from .methods import Method
from .noise import scheduler_config
from .read_part import read_part
from .settings import SamplingSettings, describe
from .sharing import modules_in_use, worker_of
from .stored_states import stored_states
from .token_mask import kept_positions


@dataclass(frozen=True)
class Shared:
    """What all jobs of one call have in common, already checked."""

    pipe: Any
    family: Family
    encoder: TextEncoder
    model: str
    method: Method
    layers: tuple[int, ...]
    num_layers: int
    settings: SamplingSettings
    batch_choice: BatchChoice | Literal["given"] = "given"
    compiled: bool = False

    def job(
        self,
        prompt: str,
        read: tuple[tuple[Token, ...], str],
        token_masks: dict[TokenKey, tuple[int, ...]],
        negative_prompt: str | None,
        attention: AttentionChoice,
    ) -> LensJob:
        """Create the job of one prompt; `read` is its tokens and the part that was cut off."""
        tokens, cut = read
        settings = self.settings
        run = LensRun(
            prompt,
            tokens,
            self.layers,
            self.num_layers,
            settings.seed_number,
            self._describe(self.pipe, negative_prompt),
        )
        if cut:
            run.settings["cut_off"] = read_part(prompt, cut)[1]
            warn_caller(f"prompt: {cut_note(run)}")
        run.token_masks = {**token_masks, **self.method.variants}
        run.attention = lens_attention(
            attention,
            self.pipe,
            self.family,
            tokens,
            height=settings.height,
            width=settings.width,
            steps=settings.num_inference_steps,
            pictures=len(self.layers),
        )
        return LensJob(run, partial(self._work, negative_prompt), worker_of(self.pipe))

    def _describe(self, pipe: Any, negative_prompt: str | None) -> dict[str, Any]:
        about = {"model": self.model, "text_encoder": self.encoder.name, **self.method.settings}
        about["scheduler_config"] = scheduler_config(pipe.scheduler)
        return {**about, **describe(pipe, self.settings, negative_prompt)}

    def _work(self, negative_prompt: str | None, job: LensJob) -> None:
        # inference_mode is thread-local: so enter it in the worker's thread
        with modules_in_use(self.pipe), torch.inference_mode():
            view = PipelineView(self.pipe, self.family, self.encoder)
            lora_scale = self.settings.lora_scale
            run, method = job.run, self.method
            encoding = view.encode(run.prompt, lora_scale, skips=method.skips)
            if any(not isinstance(token, Variant) for token in run.token_masks):
                view.encode("", lora_scale, "empty", method.skips)
            begun = method.begin(view, lora_scale)
            states, kept = stored_states(method.states(view, encoding), run.tokens)
            batch = self._batch(view, run, negative_prompt, begun)
            fitting = replace(self, settings=settings_that_fit(self.batch_choice, batch, self.settings, job))
            settings = fitting._describe(view.pipe, negative_prompt)  # the user's may have changed since `start`
            settings |= {**kept, "rows_per_call": fitting.settings.rows_per_call(len(batch.rows))}
            with one_look():
                settings["model_hash"] = weight_hash(self.pipe)
                settings |= self._unknown_words(run, negative_prompt, settings["model_hash"])
                batch, why_not = fitting._with_compiled(batch)
                cache = open_cache(batch, fitting.settings)
            settings["compiled"] = batch.compiled is not None and batch.compiled.takes(settings["rows_per_call"])
            job.emit(Encoded(states, settings))
            if why_not:
                job.emit(Message(f"the denoiser is not compiled: {why_not}"))
            emit = partial(_emit_for_all, job) if method.one_truth else job.emit
            denoise(batch, fitting.settings, emit, job, cache)

    def _unknown_words(self, run: LensRun, negative_prompt: str | None, model_hash: str) -> dict[str, list[str]]:
        """The words that the model does not know: of what it reads of the prompt, and of the prompts of an edit."""
        read, _ = read_part(run.prompt, run.settings.get("cut_off", ""))
        of_edit = self.method.settings
        texts = [read, negative_prompt, of_edit.get("source"), *(of_edit.get("direction") or ())]
        unknown = unknown_words(self.pipe, model_hash, [text for text in texts if isinstance(text, str)])
        return {"unknown_words": unknown} if unknown else {}

    def _with_compiled(self, batch: Batch) -> tuple[Batch, str]:
        """The batch with its compiled denoiser, or why it has none; "" if nobody asked."""
        if not self.compiled:
            return batch, ""
        if batch.plan is not None:
            return batch, "attention is read inside it"
        if batch.changes_denoiser:
            return batch, "it is changed row by row"
        if self.settings.batch_invariant:
            return batch, "batch_invariant asks every run for the same bytes, and the first one is not compiled"
        of = self.settings
        try:
            compiled = CompiledDenoiser(batch.view, of.height, of.width, guided=of.guidance_scale > 1)
        except NotCompiled as reason:
            return batch, str(reason)
        return replace(batch, compiled=compiled), ""

    def _batch(
        self, view: PipelineView, run: LensRun, negative_prompt: str | None, begun: torch.Tensor | None
    ) -> Batch:
        masks: dict[TokenKey, tuple[int, ...]] = {
            token: mask for token, mask in run.token_masks.items() if not isinstance(token, Variant)
        }
        others = [name for name in view.session.encoders if name != self.encoder.name and masks]
        tokens = {self.encoder.name: run.tokens, **{name: view.tokenize(run.prompt, name)[0] for name in others}}
        clean = {name: view.tokenize("", name)[0] for name in tokens if masks}
        empty = {name: positions_in_empty(tokens[name], without) for name, without in clean.items()}
        return Batch(
            view=view,
            prompt=run.prompt,
            negative_prompt=negative_prompt,
            layers=run.layers,
            num_layers=run.num_layers,
            edit=lambda layer, variant: self.method.edit(layer, variant, begun),
            name_of=run.name_of,
            token_masks=run.token_masks,
            words=frozenset(token.index for token in run.tokens if token.kind == "word"),
            kept=kept_positions(masks, self.encoder.name, tokens),
            empty=empty,
            plan=None if run.attention is None else run.attention.plan,
            one_truth=self.method.one_truth,
            denoiser=self.method.denoiser(view, begun),
        )


def _emit_for_all(job: LensJob, event: Event) -> None:
    """Emit what happens to the one picture of the whole prompt for each layer of the run; all else as it is."""
    layers = job.run.layers
    if isinstance(event, (LayerImage, Snapshot, Failed)):
        for layer in layers:
            job.emit(replace(event, layer=layer))
    elif isinstance(event, Preview):
        job.emit(replace(event, layer=job.focus if job.focus in layers else layers[-1]))
    elif isinstance(event, Progress) and event.running:
        job.emit(replace(event, running=layers))
    else:
        job.emit(event)
