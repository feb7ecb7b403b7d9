"""DiffViewer: a raw and a tuned model side by side, under a curtain, in turn, or as a difference, for every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import traitlets as t

from ..analysis.comparison.comparison import Comparison
from ..analysis.comparison.file import SWAPPED
from ..analysis.comparison.front_end import diff_state, page_view
from ..dreambooth.history.events import EpochValidated, TrainingEvent
from ..dreambooth.history.history import TrainingHistory
from ..runs.render.encoding import small_png
from ..runs.render.page import PageView
from ._base import CHOICE, LensWidget, in_colab, is_static, read_static
from ._run_widget import _name_layers, wait_here
from ._token import TokenTrait
from ._training import Job, parts_of

MODES = ("side", "curtain", "blink", "difference", "swap_grid")


class DiffViewer(LensWidget):
    """The pictures of two models for every layer, what differs between them, and how much.

    Under the pictures are the curve of a metric over the layers, on which a layer can be picked, and the film of the
    tuned pictures.

    Parameters
    ----------
    source : Comparison, TrainingHistory, TrainingJob or None
        What `compare` returns, or two runs: ``Comparison(history.run(0), history.run(140))``. A training: the model
        before it and its newest painted epoch; while a job trains, each new one. None: nothing yet, see `show`.
    probe : int
        Which prompt of a training.
    static : bool
        As for a `LayerSlider`; a training that runs is waited for.

    Attributes
    ----------
    layer : int
        The layer on screen, one of `layers`.
    mode : "side", "curtain", "blink", "difference" or "swap_grid"
        Side by side; one over the other with a curtain to draw; in turn; the difference of the pixels, on one scale for
        all layers; or, with attribution, all four pictures of {raw, tuned encoder} × {raw, tuned U-Net}.
    metric : str
        The curve to draw: the `name` of one of `metrics`.
    token : int or None
        A word, as the position of any of its tokens. Over the tuned picture is drawn where the tuned model pays more or
        less attention to it than the raw one, if the runs captured attention.
    layers, num_layers, prompt, tokens, settings
        What is shown; settings are those of the raw run.
    models : dict of run → model
    metrics : list of dict
        name, label, unit, itself and series of each metric.
    columns : list of dict
        The words whose attention can be compared.
    failures : dict of "RUN/LAYER" → reason

    Raises
    ------
    TypeError
        If `source` is something else.
    ValueError
        If there are no pictures yet, or a training has no such probe.

    Examples
    --------
    >>> DiffViewer(compare(raw, tuned, "a photo of xon dog", attribution=True))  # doctest: +SKIP
    >>> DiffViewer(start_dreambooth(config))  # doctest: +SKIP
    >>> ipywidgets.jslink((slider, "layer"), (viewer, "layer"))  # doctest: +SKIP
    """

    _esm = read_static("diff_viewer.js")

    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # also where __init__ failed

    layer = t.Int(0).tag(**CHOICE)
    mode = t.Unicode("side").tag(**CHOICE)
    metric = t.Unicode("").tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    prompt = t.Unicode().tag(sync=True)
    tokens = t.List(t.Dict()).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    models = t.Dict().tag(sync=True)
    metrics = t.List(t.Dict()).tag(sync=True)
    columns = t.List(t.Dict()).tag(sync=True)
    failures = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)

    _scales = t.Dict().tag(sync=True)

    def __init__(
        self, source: Comparison | TrainingHistory | Job | None = None, *, probe: int = 0, static: bool = False
    ) -> None:
        self._static = is_static(static)
        self._shown: Comparison | None = None
        self._training: TrainingHistory | None = None
        if not isinstance(source, Comparison):
            training = _training(source, probe)
            super().__init__()
            if training is not None:
                self._show_training(*training, probe)
            return
        state = diff_state(_checked(source))
        self._shown = source
        super().__init__(**state, layer=state["layers"][-1], metric=state["metrics"][0]["name"])

    def show(self, source: Comparison | TrainingHistory | Job, *, probe: int = 0) -> None:
        """Show another comparison or training; layer, mode, metric and word stay if the new one has them too."""
        if isinstance(source, Comparison):
            _checked(source)
            self._unsubscribe()
            with self._lock:
                self._training = None
                self._show(source)
            return
        training = _training(source, probe)
        if training is None:
            raise _refused(source)
        self._unsubscribe()
        self._show_training(*training, probe)

    def close(self) -> None:
        """Remove the widget from the page; a training that it showed continues."""
        self._unsubscribe()
        super().close()

    def _show(self, comparison: Comparison, **traits: Any) -> None:
        """Put a comparison on the page; `traits` replace those that follow from it."""
        number = self._run + 1
        state = {**diff_state(comparison, number), **traits}
        same = [token["text"] for token in state["tokens"]] == [token["text"] for token in self.tokens]
        with self._lock:
            nothing_before, self._shown = self._shown is None, comparison
            self._channel.restart(number)
            self._run, self._frames = number, {}
            for name, value in state.items():
                setattr(self, name, value)
            if nothing_before or self.layer not in self.layers:
                self.layer = self.layers[-1]
            names = [each["name"] for each in self.metrics]
            self.metric = self.metric if self.metric in names else names[0]
            self.mode = "side" if self.mode == "swap_grid" and not self._has_swapped else self.mode
            self.token = self.token if same else None

    # -- a training

    def _show_training(self, history: TrainingHistory, job: Job | None, probe: int) -> None:
        if job is not None and (self._static or in_colab()):
            wait_here(job)
        with self._lock:
            self._training = history
        epochs = [epoch for epoch in history.epochs if epoch and history.has(epoch, probe)]
        if epochs:
            self._show_epoch(history, epochs[-1], probe)
        elif self._shown is None:
            self.notice = "Nothing to compare yet: no epoch after epoch 0 is painted."
        if job is not None and not job.done():
            self._unsubscribe = job.subscribe(partial(self._hear, history, probe, epochs))

    def _hear(self, history: TrainingHistory, probe: int, shown: list[int], event: TrainingEvent) -> None:
        """Pass a new epoch on, in the thread of the job; `shown` are the epochs that were shown before."""
        if (
            isinstance(event, EpochValidated)
            and event.validation_prompt == probe
            and event.epoch
            and event.epoch not in shown
        ):
            self._task_thread.post(partial(self._show_epoch, history, event.epoch, probe))

    def _show_epoch(self, history: TrainingHistory, epoch: int, probe: int) -> None:
        comparison = Comparison(history.run(0, probe), history.run(epoch, probe))
        models = {"raw": f"{history.model}, epoch 0", "tuned": f"{history.model}, epoch {epoch}"}
        with self._lock:
            if self._training is history:  # else another training or comparison is shown by now
                self._show(comparison, models=models)

    @property
    def _has_swapped(self) -> bool:
        return set(self.models) >= {"-".join(pair) for pair in SWAPPED}

    @t.validate("layer")
    def _known_layer(self, proposal: dict[str, Any]) -> int:
        layer = proposal["value"]
        if self.layers and layer not in self.layers:
            raise t.TraitError(f"layer {layer} is not there: this comparison has {_name_layers(self.layers)}")
        return layer

    @t.validate("mode")
    def _known_mode(self, proposal: dict[str, Any]) -> str:
        mode = proposal["value"]
        if mode not in MODES:
            raise t.TraitError(f"mode: {mode!r} is none of {', '.join(MODES)}")
        if mode == "swap_grid" and not self._has_swapped:
            raise t.TraitError("mode: there are no swapped runs; compare(..., attribution=True) paints them")
        return mode

    @t.validate("metric")
    def _known_metric(self, proposal: dict[str, Any]) -> str:
        metric, names = proposal["value"], [each["name"] for each in self.metrics]
        if names and metric not in names:
            raise t.TraitError(f"metric: {metric!r} is none of {', '.join(names)}")
        return metric

    # -- nothing runs here, and the browser saves single pictures itself

    def _stop(self) -> None:
        """There is nothing to stop."""

    def _write_file(self, file_format: str, path: Path) -> None:
        if self._shown is None or file_format != "html":
            raise ValueError(f"a DiffViewer is not saved as {file_format}")
        self._shown.to_html(path)

    def _page_view(self, thinning: int = 0) -> PageView:
        if self._shown is None:
            raise ValueError("there is no comparison yet")
        view = page_view(self._shown, thinning)
        models = {name: self.models[name] for name in view.state["models"]}  # a training names its epochs
        return replace(view, state={**view.state, "models": models})

    def _still_png(self) -> bytes | None:
        return None if self._shown is None else small_png(self._shown.grid())

    def __repr__(self) -> str:
        return "DiffViewer()" if self._shown is None else f"DiffViewer({self._shown!r})"


def _training(source: Any, probe: int) -> tuple[TrainingHistory, Job | None] | None:
    """The history to show, and the job that continues it; None for no source."""
    try:
        history, job = parts_of("DiffViewer", source)
    except TypeError:
        raise _refused(source) from None
    if history is None:
        return None
    if probe not in range(len(history.validation_prompts)):
        raise ValueError(
            f"probe: {probe} is outside 0..{len(history.validation_prompts) - 1}, the prompts of this training"
        )
    return history, job


def _refused(source: Any) -> TypeError:
    return TypeError(
        f"DiffViewer shows a Comparison, a TrainingHistory or a TrainingJob, not {type(source).__name__}: try "
        "compare(raw, tuned, prompt)"
    )


def _checked(comparison: Comparison) -> Comparison:
    if not any(run.images for run in comparison.runs.values()):
        raise ValueError("this comparison has no pictures yet")
    return comparison
