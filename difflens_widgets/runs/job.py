"""LensJob: a lens run in a worker thread: progress, cancel, result, await."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .background import BackgroundJob
from .events import Done, Event, Failed, Listener, Painted, Progress, Snapshot, TokenFailed, TokenPainted
from .run import LensRun


class LensJob(BackgroundJob[LensRun]):
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
        super().__init__(run)
        self.run = run
        self.focus: int | None = None
        self.progress: Progress | None = None
        self._work = work

    @property
    def watched(self) -> bool:
        """True while someone wants previews: they are decoded only then."""
        return any(self._listeners.values())

    def subscribe(self, listener: Listener, *, previews: bool = True) -> Callable[[], None]:
        """Call `listener` with every event from now on, after a replay of what is painted already.

        The listener runs in the worker thread and should return soon. Without `previews` it gets those only if
        another listener wants them. Returns a function that ends the subscription.
        """
        return self._subscribe(listener, previews)

    def start(self) -> LensJob:
        """Begin in a worker thread."""
        self._start()
        return self

    def run_here(self) -> LensRun:
        """Do the work in the calling thread and return the record; Ctrl-C stops it."""
        self._main()
        return self.result()

    def _do(self) -> None:
        self._work(self)

    def _replay(self) -> Iterator[Event]:
        run = self.run
        for (layer, step), image in list(run.snapshots.items()):
            yield Snapshot(layer, step, image)
        for layer, image in list(run.images.items()):
            yield Painted(layer, image)
        for layer, message in list(run.failures.items()):
            yield Failed(layer, message)
        for (layer, token), image in list(run.token_images.items()):
            yield TokenPainted(layer, token, image)
        for (layer, token), message in list(run.token_failures.items()):
            yield TokenFailed(layer, token, message)
        if run.status != "running":
            yield Done(run.status, run.message)

    def _enter(self, event: Event) -> Iterator[Event]:
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
        return iter(())

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
