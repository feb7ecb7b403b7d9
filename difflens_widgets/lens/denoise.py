"""denoise: generates images from edited text encoder outputs, several rows in each call of the stock pipeline.

All forwards of a run have the same number of rows, at most the batch size: the images of a run, and those of two runs
with equally many rows, can be compared to the byte. An image does not depend on which others are requested, up to
rounding: the kernels of a forward depend on its number of rows. With `batch_invariant` every forward has as many rows
as the batch size, missing rows are padded, and an image is the same to the byte. Each row has its own generator, and
all have the same seed: the same latents and, with stochastic schedulers, the same noise at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..runs.events import Event, Failed, LayerImage, Message, Progress, TokenFailed, TokenImage
from .batch import Batch, BatchRow, next_rows
from .batch_size import remember_batch_size
from .cache import RunCache
from .memory import free_memory, out_of_memory
from .settings import SamplingSettings
from .stock_call import Cancelled, Control, RunSoFar, StockCall


def denoise(
    batch: Batch,
    settings: SamplingSettings,
    emit: Callable[[Event], None],
    control: Control,
    cache: RunCache | None = None,
) -> None:
    """Generate all rows of a batch, the displayed layer first, and emit events on the way.

    Returns early, with the images so far, if `control` is cancelled. If memory runs out, goes on with half the rows,
    and remembers the number for the next runs.

    Parameters
    ----------
    batch : Batch
        Its prompt must be encoded already.
    settings : SamplingSettings
    emit : callable
        Called with every event, in this thread.
    control : Control
    cache : RunCache, optional
        Of this batch with these settings: images in it are not generated again.
    """
    progress = _Progress(batch, settings, emit)
    so_far = RunSoFar()
    remaining = batch.rows
    size = settings.rows_per_call(len(remaining))  # of all rows, cached or not: what a run has can be compared
    if cache is not None:
        remaining = progress.replay(cache.find(remaining, size), remaining, control)
    if batch.plan is not None and batch.plan.note:
        emit(Message(batch.plan.note))
    while remaining and not control.cancelled():
        rows = next_rows(remaining, size, control.focus, batch.num_layers, batch_invariant=settings.batch_invariant)
        progress.begin(rows)
        send = progress.emit if cache is None else cache.collecting(progress.emit)
        failed = _paint(StockCall(batch, settings, send, control, rows, size, progress.tell, so_far), size)
        if cache is not None:
            cache.keep(rows, size)
        if failed is None:
            return
        if failed:
            free_memory()
            settings = replace(settings, batch_size=(size + 1) // 2)
            remember_batch_size(batch.view, settings)
            size = settings.rows_per_call(len(remaining))
            message = f"out of memory: going on with {size} layer{'s' * (size > 1)} at a time"
            emit(Message(message, {"batch_size": settings.batch_size, "rows_per_call": size}))
            continue
        remaining = [row for row in remaining if row not in rows.values()]
        progress.end()


def _paint(call: StockCall, size: int) -> bool | None:
    """Run the call. True: out of memory; None: cancelled. On return, the error no longer holds the call's tensors."""
    try:
        call.paint()
    except Cancelled:
        return None
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) or size == 1:
            raise
        return True
    return False


class _Progress:
    """Counts finished images, and estimates the remaining time from the time that these took."""

    def __init__(self, batch: Batch, settings: SamplingSettings, emit: Callable[[Event], None]) -> None:
        self._emit, self._steps = emit, settings.num_inference_steps
        self._total = len(batch.rows)
        self._layers_total = sum(row.token is None for row in batch.rows)
        self._layers_done = self._tokens_done = self._finished = self._cached = 0
        self._rows: Mapping[int, BatchRow] = {}
        self._began = time.monotonic()

    def begin(self, rows: Mapping[int, BatchRow]) -> None:
        """Note that a call with these rows begins."""
        self._rows = rows

    def end(self) -> None:
        """Note that the call is over."""
        self._finished += len(self._rows)
        self.tell(0.0, self._steps)

    def replay(
        self, found: Mapping[BatchRow, Sequence[Event]], rows: Sequence[BatchRow], control: Control
    ) -> list[BatchRow]:
        """Emit the events of rows that were generated before; return the other rows."""
        left = list(rows)
        for row, events in found.items():
            if control.cancelled():
                break
            self.begin({0: row})
            for event in events:
                self.emit(event)
            left.remove(row)
            self._cached += 1
            self.end()
        self._began = time.monotonic()
        return left

    def emit(self, event: Event) -> None:
        """Count an event and pass it on."""
        if isinstance(event, (LayerImage, Failed)):
            self._layers_done += 1
        elif isinstance(event, (TokenImage, TokenFailed)):
            self._tokens_done += 1
        self._emit(event)

    def tell(self, share: float, step: int) -> None:
        """Emit the progress: the share (0..1) of this call's evaluations that is done, and the denoising step."""
        rows = self._rows.values()
        self._emit(
            Progress(
                layers_done=self._layers_done,
                layers_total=self._layers_total,
                running=tuple(row.layer for row in rows if row.token is None),
                step=step,
                steps=self._steps,
                seconds_left=self._seconds_left(share),
                tokens_done=self._tokens_done,
                tokens_total=self._total - self._layers_total,
                running_tokens=tuple((row.layer, row.token) for row in rows if row.token is not None),
            )
        )

    def _seconds_left(self, share: float) -> float | None:
        done = self._finished + len(self._rows) * share
        generated = done - self._cached
        if done >= self._total:
            return 0.0
        return (time.monotonic() - self._began) * (self._total - done) / generated if generated > 0 else None
