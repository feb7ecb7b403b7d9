"""The cache of a run: rows that were generated before are not generated again.

The key of a row holds all that decides its image: the states that the denoiser gets for this row, the negative prompt,
the weights and settings of the whole pipeline, the sampling settings, the row's place and the number of rows in the
batch, the versions and the device. Not its prompt, layer or edit: so two edits that give the same states, such as "skip
no block" and the last layer, or the stock row of a patch, share an image.

Neither read nor filled: with `cache=False`, with an `on_step` listener, which has to be called, where the denoiser is
changed row by row, and where a pipeline holds what cannot be hashed (hooks, code of your own). A row is taken only if
all that was requested of it is known, snapshots and attention maps included. The weights are read in full once, and
then only checked, before and after each call: `known_modules` says which write that does not see.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..models import FAMILIES
from ..models.content_hash import ContentHash, NotHashable
from ..models.own_tokenizer import without_processor
from ..models.pipeline_hash import add_part, pipeline_hash
from ..runs.events import Event, Failed, LayerImage, Message, NoiseDrawn, Snapshot, TokenFailed, TokenImage
from ..runs.maps.maps import AttentionMaps
from ..runs.maps.plan import Plan
from ..runs.result_store import ResultStore, result_store
from ..runs.stored_images import StoredImage
from .batch import Batch, BatchRow, next_rows
from .settings import SamplingSettings

log = logging.getLogger(__name__)

_NOT_IN_THE_KEY = {"snapshots", "on_step", "cache", "batch_size", "batch_invariant"}  # the call's own size is in it
_ROWS = 16  # whose conditions are in memory at a time


def open_cache(batch: Batch, settings: SamplingSettings) -> RunCache | None:
    """The cache of a run whose prompt is encoded; None if there is none for it."""
    store = result_store() if settings.cache and settings.on_step is None else None
    if store is None:
        return None
    try:
        return RunCache(batch, settings, store)
    except NotHashable as reason:
        log.info("the images of this run are not kept for later ones: %s", reason)
        return None


class RunCache:
    """The images of one run in a store.

    Raises
    ------
    NotHashable
        If something has an effect on the images that the key would not show.
    """

    def __init__(self, batch: Batch, settings: SamplingSettings, store: ResultStore) -> None:
        if batch.changes_denoiser:
            raise NotHashable("a denoiser that is changed row by row")
        if not any(batch.view.family is family for family in FAMILIES):
            raise NotHashable("a family of your own, whose declaration may change")
        self._batch, self._settings, self._store = batch, settings, store
        self._conditions = _conditions(batch, settings)
        self._rest = self._hash_of_the_rest()
        self._collected: list[LayerImage | TokenImage] = []
        self._snapshots: dict[int, dict[int, Any]] = {}
        self._noise: dict[str, str] = {}

    def find(self, rows: Sequence[BatchRow], size: int) -> dict[BatchRow, list[Event]]:
        """The events of the rows that are known, for calls of `size` rows, in the order of such calls."""
        found: dict[BatchRow, list[Event]] = {}
        for row, place in self._in_order(rows, size):
            stored = self._store.get(self._key(row, size, place))
            if stored is not None and (events := self._events(row, stored)) is not None:
                found[row] = events
        return found

    def collecting(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """`emit`, which also collects the images of the next call."""
        self._collected, self._snapshots = [], {}
        doubtful = False

        def collect(event: Event) -> None:
            nonlocal doubtful
            if isinstance(event, NoiseDrawn):
                self._noise = dict(event.settings)
            elif isinstance(event, Snapshot):
                self._snapshots.setdefault(event.layer, {})[event.step] = None if event.flagged else event.image
            elif isinstance(event, Message):  # said of the row that follows, and would be said of it again
                doubtful = True
            elif isinstance(event, (LayerImage, TokenImage)):
                snapshots = self._snapshots.get(event.layer, {}).values()
                if not doubtful and not event.flagged and None not in snapshots:  # what was blacked out is not kept
                    self._collected.append(event)
                doubtful = False
            elif isinstance(event, (Failed, TokenFailed)):
                doubtful = False
            emit(event)

        return collect

    def keep(self, rows: Mapping[int, BatchRow], size: int) -> None:
        """Keep the collected images of a call with these rows."""
        if not self._collected:
            return
        try:
            if self._hash_of_the_rest().hexdigest() != self._rest.hexdigest():
                # by the user; or a network built a table in its first forward, and the next run is kept
                log.info("the model changed while it was generating: these images are not kept for later runs")
                return
        except NotHashable:
            return
        places = {row: place for place, row in rows.items()}
        for event in self._collected:
            if isinstance(event, TokenImage):
                row, stored = BatchRow(event.layer, event.token), StoredImage(event.image, noise=self._noise)
            else:
                row = BatchRow(event.layer)
                snapshots = self._snapshots.get(event.layer, {})
                stored = StoredImage(event.image, event.latents, snapshots, event.attention, self._noise)
            self._store.put(self._key(row, size, places[row]), stored)

    def _events(self, row: BatchRow, stored: StoredImage) -> list[Event] | None:
        """The events of a row; None if something is missing."""
        layer, token = row
        if not stored.noise:
            return None
        noise = NoiseDrawn(stored.noise)
        if token is not None:
            return [noise, TokenImage(layer, token, stored.image, cached=True)]
        attention = _with_plan(stored.attention, self._batch.plan)
        if stored.latents is None or not self._settings.snapshots <= stored.snapshots.keys():
            return None
        if self._batch.plan is not None and attention is None:
            return None
        snapshots = [Snapshot(layer, step, stored.snapshots[step]) for step in sorted(self._settings.snapshots)]
        return [noise, *snapshots, LayerImage(layer, stored.image, stored.latents, attention, cached=True)]

    def _in_order(self, rows: Sequence[BatchRow], size: int) -> list[tuple[BatchRow, int]]:
        """The rows with their places in the batch, in the order of calls of `size` rows."""
        remaining, ordered = list(rows), []
        invariant = self._settings.batch_invariant
        while remaining:
            chosen = next_rows(remaining, size, None, self._batch.num_layers, batch_invariant=invariant)
            ordered += [(row, place) for place, row in chosen.items()]
            remaining = [row for row in remaining if row not in chosen.values()]
        return ordered

    def _key(self, row: BatchRow, size: int, place: int) -> str:
        compiled = self._batch.compiled is not None and self._batch.compiled.takes(size)
        return self._rest.copy().add(self._conditions[row], size, place, compiled).hexdigest()

    def _hash_of_the_rest(self) -> ContentHash:
        """Everything but the states: read again after a call, because the user may change the model meanwhile."""
        settings, view = self._settings, self._batch.view
        tokenizers = [name for name in view.pipe.components if name.startswith("tokenizer")]
        left_out = [*tokenizers, *view.session.encoders]
        steps = settings.num_inference_steps
        found = pipeline_hash(view.pipe, view.scheduler, steps, view.device, without=left_out)
        negative = self._batch.negative_prompt
        for name, encoder in view.session.encoders.items():  # the prompt's states are read, the negative one's are not
            add_part(found, name, encoder)
        for name in tokenizers:
            if (tokenizer := getattr(view.pipe, name)) is not None:
                found.add(name, list(without_processor(tokenizer)(negative or "").input_ids))
        found.add("negative", negative)
        for field in fields(settings):
            if field.name not in _NOT_IN_THE_KEY:
                found.add(field.name, getattr(settings, field.name))
        return found


def _conditions(batch: Batch, settings: SamplingSettings) -> dict[BatchRow, str]:
    """A hash of all that the pipeline's own `encode_prompt` gives the denoiser, for each row."""
    found: dict[BatchRow, str] = {}
    rows = batch.rows
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        for row, condition in zip(part, _conditions_of(batch, settings, part), strict=True):
            found[row] = condition
    return found


@torch.inference_mode()
def _conditions_of(batch: Batch, settings: SamplingSettings, rows: list[BatchRow]) -> list[str]:
    count = len(rows)
    batch.view.session.begin([batch.edit_of(row) for row in rows])
    try:
        encoded = batch.view.encode_stock([batch.prompt] * count, settings.lora_scale)
    except (RuntimeError, TypeError, ValueError) as error:
        raise NotHashable(f"encode_prompt: {error}") from error
    hashes = [ContentHash() for _ in rows]
    _add_by_row(encoded, hashes)
    return [found.hexdigest() for found in hashes]


def _add_by_row(value: Any, hashes: list[ContentHash]) -> None:
    """Add what `encode_prompt` returns: tensors with a row axis, lists with an item for each row, or what all share."""
    if isinstance(value, tuple):
        for part in value:
            _add_by_row(part, hashes)
        return
    by_row = isinstance(value, list | Tensor) and (not isinstance(value, Tensor) or value.ndim > 0)
    by_row = by_row and len(value) == len(hashes)
    for index, found in enumerate(hashes):
        found.add(value[index] if by_row else value)


def _with_plan(attention: AttentionMaps | None, plan: Plan | None) -> AttentionMaps | None:
    """The maps with the plan of this run; None if they were captured in another way."""
    if attention is None or plan is None or replace(attention.plan, pictures=plan.pictures) != plan:
        return None
    return replace(attention, plan=plan)
