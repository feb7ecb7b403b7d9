"""LensJob: a lens run in a worker thread, with progress, cancel, result and await."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .background import BackgroundJob
from .events import (
    Done,
    Encoded,
    Event,
    Failed,
    LayerImage,
    Listener,
    Message,
    NoiseDrawn,
    Progress,
    Snapshot,
    TokenFailed,
    TokenImage,
)
from .run import LensRun
from .tokens import PromptPart
from .worker import Worker


class LensJob(BackgroundJob[LensRun]):
    """A lens run in the background.

    Attributes
    ----------
    run : LensRun
        The record so far; complete when `done()`.
    focus : int or None
        The displayed layer: the next one to generate, if it is not done.
    progress : Progress or None
        The latest progress event.
    """

    def __init__(self, run: LensRun, work: Callable[[LensJob], None], worker: Worker | None = None) -> None:
        """`work` must call `emit` on the way and check `cancelled`; it runs in `worker`, by default a new one."""
        super().__init__(run)
        self.run = run
        self.focus: int | None = None
        self.progress: Progress | None = None
        self._work = work
        self._worker = worker or Worker()

    @property
    def watched(self) -> bool:
        """True while a listener wants previews: only then are they decoded."""
        return any(self._listeners.values())

    def subscribe(self, listener: Listener, *, previews: bool = True) -> Callable[[], None]:
        """Call `listener` with the events of the finished images, and then with every new event.

        The listener runs in the worker thread and should return soon. Without `previews` it gets previews only if some
        other listener wants them. Returns a function that ends the subscription.
        """
        return self._subscribe(listener, previews)

    def start(self) -> LensJob:
        """Start in the worker of its pipeline, after the jobs that were started before.

        Raises
        ------
        RuntimeError
            If it was started already.
        """
        self._start(self._worker)
        return self

    def wait(self) -> LensRun:
        """Start, and wait for the end; Ctrl-C stops the run within one step, and is raised again.

        Raises
        ------
        RuntimeError
            If called from a run of the same pipeline (it would wait for itself), or if the job was started already.
        """
        with self._worker.awaited():
            self.start()
            return self._finish()

    def result(self, timeout: float | None = None) -> LensRun:
        """Wait for the end and return the record; a stopped job returns what it has.

        Raises
        ------
        TimeoutError
            If the job is not done after `timeout` seconds; it goes on.
        RuntimeError
            If called from a run of the same pipeline: it would wait for itself.
        Exception
            The error that the work raised.
        """
        if self.done() or timeout is not None:
            return super().result(timeout)
        with self._worker.awaited():
            return super().result()

    def _do(self) -> None:
        self._work(self)

    def _replay(self) -> Iterator[Event]:
        run = self.run
        for (layer, step), image in list(run.snapshots.items()):
            yield Snapshot(layer, step, image, (layer, step) in run.flagged_snapshots)
        for layer, image in list(run.images.items()):
            yield LayerImage(layer, image, run.latents.get(layer), flagged=layer in run.flagged)
        for layer, message in list(run.failures.items()):
            yield Failed(layer, message)
        for (layer, token), image in list(run.token_images.items()):
            yield TokenImage(layer, token, image, (layer, token) in run.flagged_tokens)
        for (layer, token), message in list(run.token_failures.items()):
            yield TokenFailed(layer, token, message)
        if run.status != "running":
            yield Done(run.status, run.message)

    def _enter(self, event: Event) -> Iterator[Event]:
        run = self.run
        if isinstance(event, (LayerImage, TokenImage)) and event.cached:
            run.settings["from_cache"] = [*run.settings.get("from_cache", ()), _plain(event)]
        if isinstance(event, LayerImage):
            if event.flagged:
                run.flagged.add(event.layer)
            run.images[event.layer] = event.image
            if event.latents is not None:
                run.latents[event.layer] = event.latents
            if event.attention is not None and run.attention is not None:
                run.attention.add(event.layer, event.attention)
        elif isinstance(event, Encoded):
            run.states = event.states
            run.settings.update(event.settings)
        elif isinstance(event, Failed):
            run.failures[event.layer] = event.message
        elif isinstance(event, Snapshot):
            if event.flagged:
                run.flagged_snapshots.add((event.layer, event.step))
            run.snapshots[event.layer, event.step] = event.image
        elif isinstance(event, TokenImage):
            if event.flagged:
                run.flagged_tokens.add((event.layer, event.token))
            run.token_images[event.layer, event.token] = event.image
        elif isinstance(event, TokenFailed):
            run.token_failures[event.layer, event.token] = event.message
        elif isinstance(event, (Message, NoiseDrawn)):
            run.settings.update(event.settings)
        elif isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Done):
            run.images, run.latents = dict(sorted(run.images.items())), dict(sorted(run.latents.items()))
            run.status, run.message = event.status, event.message
        return iter(())

    def _outcome(self) -> Done:
        run = self.run
        tokens_left = len(run.layers) * len(run.token_masks) - len(run.token_images) - len(run.token_failures)
        if self.cancelled() and (tokens_left or len(run.images) + len(run.failures) < len(run.layers)):
            return Done("stopped")
        if not run.images:
            return Done("failed", next(iter(run.failures.values()), ""))
        return Done("done")

    def __repr__(self) -> str:
        return (
            f"LensJob({self.run.prompt!r}, {len(self.run.images)} of {len(self.run.layers)} layers, {self.run.status})"
        )


def _plain(event: LayerImage | TokenImage) -> int | list[int | str]:
    """What a cached event is of, in types that JSON has."""
    if isinstance(event, LayerImage):
        return event.layer
    token = event.token
    if isinstance(token, int):
        return [event.layer, token]
    return [event.layer, token.value if isinstance(token, PromptPart) else str(token)]
