"""LensJob: a lens run in a worker thread: progress, cancel, result, await."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from typing import Any

from .events import Done, Event, Failed, Listener, Painted, Progress, Snapshot, TokenFailed, TokenPainted
from .run import LensRun

log = logging.getLogger(__name__)


class LensJob:
    """A run that may still be going on.

    Attributes
    ----------
    run : LensRun
        The record so far; complete when `done`.
    focus : int or None
        The layer to paint next if it is still to do: the one on screen.
    progress : Progress or None
        The latest word on where the run stands.
    """

    def __init__(self, run: LensRun, work: Callable[[LensJob], None]) -> None:
        """`work` fills `run`, calls `emit` on the way and looks at `cancelled`; it runs in its own thread."""
        self.run = run
        self.focus: int | None = None
        self.progress: Progress | None = None
        self._work = work
        self._cancelled = threading.Event()
        self._finished = threading.Event()
        self._error: BaseException | None = None
        self._listeners: dict[Listener, bool] = {}  # listener → wants previews
        self._lock = threading.RLock()

    @property
    def done(self) -> bool:
        """True when nothing more will happen: finished, stopped or failed."""
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop within one denoising step; what is painted stays in `run`. Cancelling twice does no harm."""
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> LensRun:
        """Wait for the run and return it; a stopped run is returned with the layers it has.

        Raises
        ------
        TimeoutError
            If it is not done after `timeout` seconds; the run goes on.
        Exception
            What the run itself failed with.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"the run is not done after {timeout} s; it goes on")
        if self._error is not None:
            raise self._error
        return self.run

    def __await__(self) -> Generator[Any, None, LensRun]:
        return asyncio.to_thread(self.result).__await__()

    @property
    def watched(self) -> bool:
        """True while someone wants previews: they are decoded only then."""
        return any(self._listeners.values())

    def subscribe(self, listener: Listener, *, previews: bool = True) -> Callable[[], None]:
        """Call `listener` with every event from now on, after a replay of what is painted already.

        The listener runs in the worker thread and should return soon. Without `previews` it gets those only if
        another listener wants them. Returns a function that ends the subscription.
        """
        with self._lock:
            for (layer, step), image in list(self.run.snapshots.items()):
                listener(Snapshot(layer, step, image))
            for layer, image in list(self.run.images.items()):
                listener(Painted(layer, image))
            for layer, message in list(self.run.failures.items()):
                listener(Failed(layer, message))
            for (layer, token), image in list(self.run.token_images.items()):
                listener(TokenPainted(layer, token, image))
            for (layer, token), message in list(self.run.token_failures.items()):
                listener(TokenFailed(layer, token, message))
            if self.run.status != "running":
                listener(Done(self.run.status, self.run.message))
                return lambda: None
            self._listeners[listener] = previews

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.pop(listener, None)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Enter an event into the record and pass it on; a listener that fails is dropped, never the run."""
        with self._lock:
            self._record(event)
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener of the lens run failed and is dropped")
                    del self._listeners[listener]

    def _record(self, event: Event) -> None:
        if isinstance(event, Painted):
            self.run.images[event.layer] = event.image
        elif isinstance(event, Failed):
            self.run.failures[event.layer] = event.message
        elif isinstance(event, Snapshot):
            self.run.snapshots[event.layer, event.step] = event.image
        elif isinstance(event, TokenPainted):
            self.run.token_images[event.layer, event.token] = event.image
        elif isinstance(event, TokenFailed):
            self.run.token_failures[event.layer, event.token] = event.message
        elif isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Done):
            self.run.status, self.run.message = event.status, event.message

    def start(self) -> LensJob:
        """Begin in a worker thread."""
        threading.Thread(target=self._main, name="difflens", daemon=True).start()
        return self

    def run_here(self) -> LensRun:
        """Do the work in the calling thread and return the record; Ctrl-C stops it."""
        self._main()
        return self.result()

    def _main(self) -> None:
        try:
            self._work(self)
            self.emit(self._outcome())
        except BaseException as error:  # noqa: BLE001 (raised again in `result`)
            self._error = error
            self.emit(Done("failed", f"{type(error).__name__}: {error}"))
        finally:
            self._finished.set()

    def _outcome(self) -> Done:
        run = self.run
        tokens_left = len(run.layers) * len(run.kept) - len(run.token_images) - len(run.token_failures)
        if self.cancelled and (tokens_left or len(run.images) + len(run.failures) < len(run.layers)):
            return Done("stopped")
        if not run.images:
            return Done("failed", next(iter(run.failures.values()), ""))
        return Done("done")

    def __repr__(self) -> str:
        return (
            f"LensJob({self.run.prompt!r}, {len(self.run.images)} of {len(self.run.layers)} layers, {self.run.status})"
        )
