"""RunWidget: what widgets share that show one lens run, also while a job paints it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import traitlets as t
from PIL import Image

from ..runs.events import Done, Event, Failed, LayerImage, Message, Preview, Progress
from ..runs.job import LensJob
from ..runs.render.encoding import small_png
from ..runs.render.front_end import frame_key, shown_layers, steps_of, token_number
from ..runs.run import LensRun
from . import _base

_PROGRESS_INTERVAL = 0.2  # seconds between two words on progress
_DONE_PATIENCE = 2.0  # seconds that a run waits at its end for its widget to have told the browser


class RunWidget(_base.LensWidget):
    """Base of the widgets of one run; a subclass sets `_esm`, `_name` and answers the questions at the end.

    Its traits are told in the subclasses. `_frames` has each layer's picture, and what the subclass adds.
    """

    _name: ClassVar[str]  # what errors and `repr` call it
    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # also of what was never opened

    layer = t.Int(0).tag(**_base.CHOICE)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    prompt = t.Unicode().tag(sync=True)
    tokens = t.List(t.Dict()).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)
    failures = t.Dict().tag(sync=True)

    def __init__(self, source: LensRun | LensJob | None = None) -> None:
        self._job: LensJob | None = None
        self._shown: LensRun | None = None
        self._last_progress = float("-inf")
        if source is not None:
            self._check_run(self._run_of(source))
        if isinstance(source, LensJob) and _base.in_colab():
            wait_here(source)
        if source is None or _is_running(source):
            super().__init__()
        else:  # in the state that opens the widget: some front ends look at nothing else
            self._shown = run = self._run_of(source)
            super().__init__(**self._record_state(run), layer=shown_layers(run)[-1])
        if source is not None and self._shown is None:
            self.show(source)

    def show(self, source: LensRun | LensJob) -> None:
        """Show another run, or follow another job. A job shown before goes on, unseen."""
        run = self._run_of(source)
        self._check_run(run)
        if isinstance(source, LensJob) and _base.in_colab():
            wait_here(source)
        self._unsubscribe()
        with self._lock:
            nothing_before = self._shown is None
            self._job, self._shown = None, run
            number = self._run + 1
            self._channel.restart(number)
            following = _is_running(source)
            state = {**self._describe(run), "_run": number} if following else self._record_state(run, number)
            self._run, self._frames, self.layers = number, {}, state["layers"]
            if nothing_before or self.layer not in self.layers:
                self.layer = self.layers[-1]  # the model's usual picture
            if following:
                state |= {"message": "", "notice": "", "progress": {}, "failures": {}, "status": "running"}
            for name, value in state.items():
                setattr(self, name, value)
        if following and isinstance(source, LensJob):
            self._follow(source, number)

    def close(self) -> None:
        """Take the widget off the page; a job it showed goes on."""
        self._unsubscribe()
        super().close()

    def _follow(self, job: LensJob, number: int) -> None:
        self._job = job
        job.focus = self.layer
        self._put_first()
        self._unsubscribe = job.subscribe(partial(self._hear, number))

    # -- the job speaks: in its own thread, so only pass it on

    def _hear(self, number: int, event: Event) -> None:
        self._pump.post(partial(self._on_event, number, event))
        if isinstance(event, Done):  # nothing is denoised any more: let the browser know before `result()` returns
            self._pump.drain(_DONE_PATIENCE)

    def _on_event(self, number: int, event: Event) -> None:
        with self._lock:
            if number != self._run or self._shown is None:
                return  # of a job shown before
            if isinstance(event, Preview):
                self._channel.preview(frame_key(event.layer), event.image, event.step)
            elif isinstance(event, LayerImage):
                self._on_painted(event, self._shown)
            elif isinstance(event, Progress):
                self._on_progress(event)
            elif isinstance(event, Message):
                self.notice = event.message
            elif isinstance(event, Failed):
                self.failures = {**self.failures, str(event.layer): event.message}
            elif isinstance(event, Done):
                self._on_done(event)
            else:
                self._on_other_event(event, self._shown)

    def _on_painted(self, event: LayerImage, run: LensRun) -> None:
        """Send it; in place, without notice of the trait: the browser gets all of them once more at the end."""
        key = frame_key(event.layer)
        self._frames[key] = self._channel.final(key, event.image, steps_of(run))

    def _on_progress(self, event: Progress) -> None:
        now = time.monotonic()
        running = list(event.running)
        tokens = [[layer, token_number(token)] for layer, token in event.running_tokens]
        # which pictures are being painted is always said: the next word may be a slow step away
        others = (running, tokens) != (self.progress.get("running"), self.progress.get("running_tokens"))
        if others or event.complete or now - self._last_progress >= _PROGRESS_INTERVAL:
            self._last_progress = now
            self.progress = {**vars(event), "running": running, "running_tokens": tokens}

    def _on_done(self, event: Done) -> None:
        self._job = None
        self._channel.restart(self._run)  # all that is finished goes out as one now
        self.send_state("_frames")
        self.message = event.message
        self.status = event.status
        self._renew_still()

    # -- the user speaks

    @t.validate("layer")
    def _known_layer(self, proposal: dict[str, Any]) -> int:
        layer = proposal["value"]
        if self.layers and layer not in self.layers:
            raise t.TraitError(f"layer {layer} is not there: this run has {_name_layers(self.layers)}")
        return layer

    @t.observe("layer")
    def _on_layer(self, _: dict[str, Any]) -> None:
        self._put_first()
        job = self._job
        if job is not None:
            job.focus = self.layer

    def _put_first(self) -> None:
        """What is on screen goes before all other pictures."""
        self._channel.first = self._key_on_screen()

    def _stop(self) -> None:
        job = self._job
        if job is not None:
            job.cancel()

    # -- the still picture

    def _still_png(self) -> bytes | None:
        run = self._shown
        if run is None or not run.images:
            return None
        return small_png(self._draw_still(run))

    def __repr__(self) -> str:
        if self._shown is None:
            return f"{self._name}()"
        painted, asked = len(self._shown.images), len(self._shown.layers)
        return f"{self._name}({self.prompt!r}, {painted} of {asked} layers, {self.status})"

    def _run_of(self, source: Any) -> LensRun:
        if isinstance(source, LensJob):
            return source.run
        if isinstance(source, LensRun):
            return source
        raise TypeError(
            f"{self._name} shows a LensRun or a LensJob, not {type(source).__name__}: try lens.start(prompt)"
        )

    # -- what a subclass knows

    def _check_run(self, run: LensRun) -> None:
        """Refuse a run that cannot be shown, before anything is changed."""

    def _describe(self, run: LensRun) -> dict[str, Any]:
        """The traits that say what a run is before anything of it is painted."""
        raise NotImplementedError

    def _record_state(self, run: LensRun, number: int = 0) -> dict[str, Any]:
        """The traits that show a run as it stands; `number` counts the runs that this widget has shown."""
        raise NotImplementedError

    def _draw_still(self, run: LensRun) -> Image.Image:
        """What stands in for the widget where none can run; at least one layer is painted."""
        raise NotImplementedError

    def _on_other_event(self, event: Event, run: LensRun) -> None:
        """Take an event of a kind that not every widget shows."""

    def _key_on_screen(self) -> str:
        """The name under which the picture on screen travels."""
        return frame_key(self.layer)


def _is_running(source: Any) -> bool:
    return isinstance(source, LensJob) and not source.done()


def _name_layers(layers: list[int]) -> str:
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return "layers " + ", ".join(map(str, layers))


def wait_here(job: Any) -> None:
    """Let the job finish in this cell, where the browser hears nothing from threads; interrupting stops the job."""
    try:
        while not job.done():
            time.sleep(0.05)
    except KeyboardInterrupt:
        job.cancel()
        wait_here(job)
