"""Microscope: from a prompt box to the layers, the words, the attention and a second prompt, in one widget."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..runs.events import Done, Event
from ..runs.job import LensJob
from ..runs.render.front_end import on_screen
from ..runs.run import LensRun
from ._base import CHOICE, read_static
from ._part import LINKED
from ._run_widget import DONE_PATIENCE
from ._scope_history import EXAMPLES, MOST_SEED, Entry, Form, History
from ._scope_jobs import defaults_of, start_lens, start_patch, start_second
from ._scope_messages import ScopeMessages
from ._scope_views import Views
from ._token import TokenTrait

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens

VIEWS = ("layers", "tokens", "attention", "compare", "patch")


class Microscope(ScopeMessages):
    """A prompt box, and what each layer of the text encoder makes of the prompt.

    Type a prompt and press Run. The tabs show the images of all layers, the same for each word by itself, where the
    denoiser looks for each word, a second prompt from the same noise, and the prompt with states of the second one.
    Layer, step and word are the same in all tabs. What was painted in the session can be shown again, saved as a
    ``.lens`` file, and opened from one.

    Parameters
    ----------
    lens : DiffusionLens
        What paints.
    prompt : str
        What the prompt box holds at first.
    history_limit : int
        How many runs are kept in memory to go back to, ≥ 1. The oldest is dropped first. A run of the embedded model
        with attention takes about 3 MB; one of a large model can take 100 MB and more.
    attention : bool, "mean", "daam" or AttentionOptions
        Passed to the lens with each run. False: the attention tab stays empty.

    Attributes
    ----------
    prompt, negative_prompt : str
        The boxes. An empty negative prompt is the model's default.
    seed : int
        0 ≤ seed < 2**53.
    num_inference_steps : int or None
    guidance_scale : float or None
        None: the model's default.
    layers : str
        As on the command line: "0:13:3", "5" or "0,4,12"; "" means all.
    second_prompt : str
        The prompt of the tab "compare", and the source of the tab "patch".
    patch_words : str
        Which words get the states of which words of the second prompt: "red = blue, circle = square". "" means those
        that differ, "all" all tokens.
    view : "layers", "tokens", "attention", "compare" or "patch"
        The open tab.
    layer : int
        The layer on screen in every tab; where a run does not have it, the nearest below is shown.
    step, token : int or None
        As in a `LayerSlider`, for every tab.
    status : "empty", "running", "done", "stopped" or "failed"
        Of what was started last.
    message : str
        Why the last thing that was asked for was refused.

    Raises
    ------
    TypeError, ValueError
        If `lens` is no lens, or `history_limit` is not ≥ 1.

    Examples
    --------
    >>> Microscope(DiffusionLens.from_pretrained(), "a pink cat on a blue background")  # doctest: +SKIP
    """

    _esm = read_static("microscope.js")

    prompt = t.Unicode().tag(**CHOICE)
    negative_prompt = t.Unicode().tag(**CHOICE)
    seed = t.Int(0, min=0, max=MOST_SEED).tag(**CHOICE)
    num_inference_steps = t.Int(None, allow_none=True).tag(**CHOICE)
    guidance_scale = t.Float(None, allow_none=True).tag(**CHOICE)
    layers = t.Unicode().tag(**CHOICE)
    second_prompt = t.Unicode().tag(**CHOICE)
    patch_words = t.Unicode().tag(**CHOICE)
    view = t.Enum(VIEWS, default_value="layers").tag(**CHOICE)
    layer = t.Int(0).tag(**CHOICE)
    step = t.Int(None, allow_none=True).tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)

    _defaults = t.Dict().tag(sync=True)
    _examples = t.List(t.List()).tag(sync=True)
    _tabs = t.List(t.Unicode()).tag(sync=True)
    _entries = t.List(t.Dict()).tag(sync=True)
    _entry = t.Int(0).tag(sync=True)  # the number of the entry on screen; 0: none yet
    _has = t.List(t.Unicode()).tag(sync=True)  # what that entry can show
    # the state of the views: complete when a page opens the widget, piece by piece in messages afterwards
    _parts = t.Dict().tag(sync=True, to_json=lambda _, widget: widget._views.states(), echo_update=False)

    def __init__(
        self, lens: DiffusionLens, prompt: str = "", *, history_limit: int = 10, attention: Any = True
    ) -> None:
        if not callable(getattr(lens, "start", None)):
            hint = "Microscope(DiffusionLens.from_pretrained())"
            raise TypeError(f"Microscope needs a DiffusionLens, not {type(lens).__name__}: try {hint}")
        if type(history_limit) is not int or history_limit < 1:
            raise ValueError(f"history_limit: expected an integer ≥ 1, got {history_limit!r}")
        self.lens = lens
        self._attention = attention
        self._history = History(history_limit)
        self._views = Views(self._deliver)
        self._words: list[str] = []  # the tokens of the prompt on screen
        tabs = [view for view in VIEWS if view != "patch" or hasattr(lens, "start_patch")]
        super().__init__(
            prompt=prompt, _defaults=self._read_defaults(), _examples=[list(each) for each in EXAMPLES], _tabs=tabs
        )

    # -- what can be done in a cell as well

    @property
    def run(self) -> LensRun | None:
        """The run on screen; in the tab "compare" that of the first prompt. None if there is none."""
        entry = self._history.current
        return None if entry is None else entry.shown(self.view)

    @property
    def runs(self) -> list[LensRun]:
        """The runs of the history, the oldest first, each followed by its second prompt's and its patch."""
        return self._history.runs()

    def start(self) -> LensJob:
        """Paint what the open tab shows, as the button Run does, and return at once.

        Returns
        -------
        LensJob
            In the tab "compare" that of the second prompt.

        Raises
        ------
        RuntimeError
            If a run is being painted.
        ValueError, TypeError
            If a box is empty, or as `DiffusionLens.start`.
        """
        with self._lock:
            if self._history.jobs:
                raise RuntimeError("a run is being painted; stop it first, or wait until it is done")
            entry, jobs = self._started()
            self._history.jobs = dict.fromkeys(jobs, entry)
            self.message = self.notice = ""
            self.status = "running"
            self._put(entry)
        self._show(entry)
        for job in jobs:
            job.subscribe(self._on_job_event, previews=False)
        return jobs[-1]

    def show(self, source: LensRun | LensJob) -> None:
        """Show a run that was painted elsewhere, or follow a job; it becomes part of the history.

        Raises
        ------
        TypeError
            If `source` is neither a LensRun nor a LensJob.
        """
        if not isinstance(source, LensRun | LensJob):
            raise TypeError(f"Microscope shows a LensRun or a LensJob, not {type(source).__name__}")
        run = source.run if isinstance(source, LensJob) else source
        entry = self._history.new(Form.of(run), lens=source)
        with self._lock:
            if isinstance(source, LensJob) and not source.done():
                self._history.jobs[source] = entry
                self.status = "running"
            elif not self._history.jobs:
                self.status = "done"
            self._put(entry)
        self._fill(entry)
        self._show(entry)
        if isinstance(source, LensJob):
            source.subscribe(self._on_job_event, previews=False)

    def close(self) -> None:
        """Remove the widget from the page and end its threads. A running job continues."""
        if "_views" in self.__dict__:  # else `__init__` refused the lens
            self._views.close()
        super().close()

    # -- runs

    def _read_defaults(self) -> dict[str, Any]:
        return defaults_of(self.lens)

    def _started(self) -> tuple[Entry, list[LensJob]]:
        """Start the jobs of the open tab, and make the entry that they belong to."""
        form = Form(*(getattr(self, each.name) for each in dataclasses.fields(Form)))
        if self.view == "patch":
            return start_patch(self.lens, self._history, form, self.second_prompt, self.patch_words)
        if self.view == "compare":
            return start_second(self.lens, self._history, form, self.second_prompt, self._attention)
        return start_lens(self.lens, self._history, form, self._attention, words=self.view == "tokens")

    def _on_job_event(self, event: Event) -> None:
        if isinstance(event, Done):  # tell the browser before `result()` returns, as the views do
            self._task_thread.post(self._settle)
            self._task_thread.flush(DONE_PATIENCE)

    def _settle(self) -> None:
        """Note which jobs have ended."""
        with self._lock:
            ends = self._history.settle()
            self._tell()
            if not ends or self._history.jobs:
                return
            self.status = next(status for status in ("failed", "stopped", "done") if status in ends)
        self._renew_still()

    def _put(self, entry: Entry) -> None:
        self._history.put(entry)
        self._tell()

    def _tell(self) -> None:
        """Bring the browser's list of runs up to date."""
        current = self._history.current
        self._entries = [entry.describe() for entry in self._history.entries]
        self._entry, self._has = (0, []) if current is None else (current.number, current.parts())

    def _go_to(self, number: Any) -> None:
        entry = self._history.find(number)
        with self._lock:
            self._put(entry)
        self._fill(entry)
        self._show(entry)

    def _fill(self, entry: Entry) -> None:
        """Put into the boxes what an entry was painted with."""
        for each in dataclasses.fields(Form):
            setattr(self, each.name, getattr(entry.form, each.name))
        if entry.second:
            self.second_prompt = entry.second

    def _show(self, entry: Entry) -> None:
        run = entry.shown(self.view) or entry.run("lens") or entry.run("patch")
        if run is None:
            return
        words = [token.text for token in run.tokens]
        with self._lock:
            token = self.token if words == self._words else None
            self.layer, self.token = on_screen(run, self.layer if self._words else None, token)
            self._words = words
        self._views.show(entry, self._linked())

    @t.observe("view")
    def _on_view(self, _: dict[str, Any]) -> None:
        run = self.run
        if run is not None and run.variants:  # a change is seen first, and not the prompt without it
            self.token = on_screen(run, self.layer, self.token).token

    def _linked(self) -> dict[str, Any]:
        return {trait: getattr(self, trait) for trait in LINKED}

    @t.observe(*LINKED)
    def _on_linked(self, _: dict[str, Any]) -> None:
        self._views.link(self._linked())

    def _take_part(self, message: dict[str, Any]) -> None:
        self._views.take(message)

    def _deliver(self, name: str, content: dict[str, Any], buffers: list[Any] | None) -> None:
        self.send({"type": "part", "part": name, **content}, buffers)

    def _stop(self) -> None:
        for job in list(self._history.jobs):
            job.cancel()

    def _write_file(self, file_format: str, path: Path) -> None:
        run = self.run
        if run is None or not run.images:
            raise ValueError("there is no run to save yet")
        if run.status == "running":
            raise ValueError("this run is being painted; save it when it is done, or stop it")
        run.save(path)

    def _still_png(self) -> bytes | None:
        entry = self._history.current
        return None if entry is None else self._views.still_png(self.view, entry)

    def __repr__(self) -> str:
        return f"Microscope({self.lens.model!r}, {self.prompt!r}, {len(self._history.entries)} runs, {self.status})"
