"""RunWidget: the base of the widgets that show one lens run, finished or still being painted by a job."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import traitlets as t
from PIL import Image

from ..runs.events import Done, Encoded, Event, Failed, LayerImage, Message, Preview, Progress
from ..runs.job import LensJob
from ..runs.notes import prompt_note
from ..runs.render.encoding import small_png
from ..runs.render.front_end import frame_key, on_screen, steps_of, token_number
from ..runs.render.page import PageView
from ..runs.run import LensRun
from . import _base

_PROGRESS_INTERVAL = 0.2  # seconds between two progress updates
DONE_PATIENCE = 2.0  # seconds that a job waits at its end until its widget has sent everything to the browser


class RunWidget(_base.LensWidget):
    """Base of the widgets of one run. A subclass sets `_esm` and `_name` and implements the methods at the end.

    The subclasses document the traits. `_frames` holds the picture of each layer and what the subclass adds.
    """

    _name: ClassVar[str]  # the name of the class in errors and in `repr`
    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # `close` may be called before `__init__` is done

    layer = t.Int(0).tag(**_base.CHOICE)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    prompt = t.Unicode().tag(sync=True)
    tokens = t.List(t.Dict()).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)
    failures = t.Dict().tag(sync=True)

    def __init__(self, source: LensRun | LensJob | None = None, *, static: bool = False) -> None:
        self._static = _base.is_static(static)
        self._job: LensJob | None = None
        self._shown: LensRun | None = None
        self._last_progress = float("-inf")
        if source is not None:
            self._check_run(self._run_of(source))
        if isinstance(source, LensJob) and (self._static or _base.in_colab()):
            wait_here(source)
        if source is None or _is_running(source):
            super().__init__()
        else:  # everything goes into the message that opens the widget: some front ends read no other
            self._shown = run = self._run_of(source)
            super().__init__(**self._record_state(run), **self._choices(run, None))
        if source is not None and self._shown is None:
            self.show(source)

    def show(self, source: LensRun | LensJob) -> None:
        """Show another run, or follow another job. A job that was shown before continues, unseen.

        Raises
        ------
        TypeError
            If `source` is neither a LensRun nor a LensJob.
        """
        run = self._run_of(source)
        self._check_run(run)
        if isinstance(source, LensJob) and (self._static or _base.in_colab()):
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
            if following:
                state |= {"message": "", "notice": prompt_note(run), "progress": {}, "failures": {}}
                state["status"] = "running"
            for name, value in {**state, **self._choices(run, None if nothing_before else self.layer)}.items():
                setattr(self, name, value)
        if following and isinstance(source, LensJob):
            self._follow(source, number)

    def _choices(self, run: LensRun, layer: int | None) -> dict[str, Any]:
        """The traits that say which picture of another run is shown; `layer` is on screen now, if anything is."""
        return {"layer": on_screen(run, layer).layer}

    def close(self) -> None:
        """Remove the widget from the page. A job that it showed continues."""
        self._unsubscribe()
        super().close()

    def _follow(self, job: LensJob, number: int) -> None:
        self._job = job
        job.focus = self.layer
        self._put_first()
        self._unsubscribe = job.subscribe(partial(self._on_job_event, number))

    # -- events of the job. They come in the job's thread, so each is only posted

    def _on_job_event(self, number: int, event: Event) -> None:
        self._task_thread.post(partial(self._on_event, number, event))
        if isinstance(event, Done):  # nothing is denoised any more: tell the browser before `result()` returns
            self._task_thread.flush(DONE_PATIENCE)

    def _on_event(self, number: int, event: Event) -> None:
        with self._lock:
            if number != self._run or self._shown is None:
                return  # an event of a job shown before
            if isinstance(event, Preview):
                self._channel.preview(frame_key(event.layer), event.image, event.step)
            elif isinstance(event, LayerImage):
                self._on_layer_image(event, self._shown)
            elif isinstance(event, Progress):
                self._on_progress(event)
            elif isinstance(event, Encoded):  # then it is known which words the model knows
                self.notice = prompt_note(self._shown)
            elif isinstance(event, Message):
                self.notice = "\n".join(filter(None, [prompt_note(self._shown), event.message]))
            elif isinstance(event, Failed):
                self.failures = {**self.failures, str(event.layer): event.message}
            elif isinstance(event, Done):
                self._on_done(event)
            else:
                self._on_other_event(event, self._shown)

    def _on_layer_image(self, event: LayerImage, run: LensRun) -> None:
        """Send a finished picture and add it to `_frames` in place: the whole trait is sent once, at the end."""
        key = frame_key(event.layer)
        self._frames[key] = self._channel.final(key, event.image, steps_of(run))

    def _on_progress(self, event: Progress) -> None:
        now = time.monotonic()
        running = list(event.running)
        tokens = [[layer, token_number(token)] for layer, token in event.running_tokens]
        # a change of what is being painted is always sent: the next event may be a slow step away
        changed = (running, tokens) != (self.progress.get("running"), self.progress.get("running_tokens"))
        if changed or event.complete or now - self._last_progress >= _PROGRESS_INTERVAL:
            self._last_progress = now
            self.progress = {**vars(event), "running": running, "running_tokens": tokens}

    def _on_done(self, event: Done) -> None:
        self._job = None
        self._channel.restart(self._run)  # drop what waits: all finished pictures are sent as one now
        self.send_state("_frames")
        self.message = event.message
        self.status = event.status
        self._renew_still()

    # -- the user's choice

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
        """Let the picture on screen be sent before all others."""
        self._channel.first = self._key_on_screen()

    def _page_view(self, thinning: int = 0) -> PageView:
        if self._shown is None:
            raise ValueError("there is no run yet")
        return self._page_of(self._shown, thinning)

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
        painted, requested = len(self._shown.images), len(self._shown.layers)
        return f"{self._name}({self.prompt!r}, {painted} of {requested} layers, {self.status})"

    def _run_of(self, source: Any) -> LensRun:
        if isinstance(source, LensJob):
            return source.run
        if isinstance(source, LensRun):
            return source
        raise TypeError(
            f"{self._name} shows a LensRun or a LensJob, not {type(source).__name__}: try lens.start(prompt)"
        )

    # -- implemented by a subclass

    def _check_run(self, run: LensRun) -> None:
        """Raise if `run` cannot be shown, before anything is changed. By default every run can."""

    def _describe(self, run: LensRun) -> dict[str, Any]:
        """The traits of a run of which nothing is painted yet."""
        raise NotImplementedError

    def _record_state(self, run: LensRun, number: int = 0) -> dict[str, Any]:
        """The traits of a run with all that is painted; `number` counts the runs that this widget has shown."""
        raise NotImplementedError

    def _page_of(self, run: LensRun, thinning: int = 0) -> PageView:
        """The part of a page that shows a run as this widget does."""
        raise NotImplementedError

    def _draw_still(self, run: LensRun) -> Image.Image:
        """The picture that replaces the widget where none can run; at least one layer is painted."""
        raise NotImplementedError

    def _on_other_event(self, event: Event, run: LensRun) -> None:
        """Handle an event that not every widget shows. By default it is ignored."""

    def _key_on_screen(self) -> str:
        """The key of the picture on screen, as in `_frames`."""
        return frame_key(self.layer)


def _is_running(source: Any) -> bool:
    return isinstance(source, LensJob) and not source.done()


def _name_layers(layers: list[int]) -> str:
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return "layers " + ", ".join(map(str, layers))


def wait_here(job: Any) -> None:
    """Block until the job is done; interrupting the cell stops the job. Used where `in_colab` is true."""
    try:
        while not job.done():
            time.sleep(0.05)
    except KeyboardInterrupt:
        job.cancel()
        wait_here(job)
