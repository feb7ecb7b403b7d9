"""DiffViewer: a raw and a tuned model side by side, under a curtain, in turn, or as what differs, for every layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import traitlets as t

from ..analysis.comparison.comparison import Comparison
from ..analysis.comparison.file import CROSSED
from ..dreambooth.history.events import EpochValidated, TrainingEvent
from ..dreambooth.history.history import TrainingHistory
from ..runs.render.encoding import small_png
from ._base import CHOICE, LensWidget, in_colab, read_static
from ._diff_state import diff_state
from ._run_widget import _name_layers, wait_here
from ._token import TokenTrait
from ._training import Job, parts_of

MODES = ("side", "curtain", "blink", "difference", "square")


class DiffViewer(LensWidget):
    """The pictures of two models for every layer, what differs, and how much, over the layers.

    Under the pictures stand the curve of a measure over the layers, which picks the layer too, and the film of the
    tuned pictures.

    Parameters
    ----------
    source : Comparison, TrainingHistory, TrainingJob or None
        What `compare` gives, or two runs: ``Comparison(history.run(0), history.run(350))``. Of a training: the model
        before it against its newest painted epoch, and so on while a job trains. None: nothing yet, see `show`.
    probe : int
        Of a training: which of its prompts.

    Attributes
    ----------
    layer : int
        The layer on screen, one of `layers`.
    mode : "side", "curtain", "blink", "difference" or "square"
        Side by side; one over the other with a curtain to draw; in turn; the difference of the pixels, on one scale for
        all layers; or, where attribution was asked for, all four of {raw, tuned encoder} × {raw, tuned U-Net}.
    measure : str
        Whose curve is drawn: the `name` of one of `measures`.
    token : int or None
        The word, by the index of any of its tokens, whose attention is compared over the tuned picture: where it is
        looked at more or less than by the raw model. Where the runs captured it.
    layers, num_layers, prompt, tokens, settings
        What is shown; settings are those of the raw run.
    models : dict of run → model
    measures : list of dict
        name, label, unit, itself and series of each measure.
    columns : list of dict
        The words whose attention can be compared.
    failures : dict of "RUN/LAYER" → reason

    Raises
    ------
    TypeError
        If it is given something else.
    ValueError
        If no picture is painted, or a training has no such probe.

    Examples
    --------
    >>> DiffViewer(compare(raw, tuned, "a photo of xon dog", attribution=True))  # doctest: +SKIP
    >>> DiffViewer(train_dreambooth(config, start=True))  # doctest: +SKIP
    >>> ipywidgets.jslink((slider, "layer"), (viewer, "layer"))  # doctest: +SKIP
    """

    _esm = read_static("diff_viewer.js")

    _unsubscribe: Callable[[], None] = staticmethod(lambda: None)  # also of what was never opened

    layer = t.Int(0).tag(**CHOICE)
    mode = t.Unicode("side").tag(**CHOICE)
    measure = t.Unicode("").tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)
    layers = t.List(t.Int()).tag(sync=True)
    num_layers = t.Int(0).tag(sync=True)
    prompt = t.Unicode().tag(sync=True)
    tokens = t.List(t.Dict()).tag(sync=True)
    settings = t.Dict().tag(sync=True)
    models = t.Dict().tag(sync=True)
    measures = t.List(t.Dict()).tag(sync=True)
    columns = t.List(t.Dict()).tag(sync=True)
    failures = t.Dict().tag(sync=True)
    progress = t.Dict().tag(sync=True)

    _scales = t.Dict().tag(sync=True)

    def __init__(self, source: Comparison | TrainingHistory | Job | None = None, *, probe: int = 0) -> None:
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
        super().__init__(**state, layer=state["layers"][-1], measure=state["measures"][0]["name"])

    def show(self, source: Comparison | TrainingHistory | Job, *, probe: int = 0) -> None:
        """Show another comparison or training; layer, mode, measure and word stay where the new one has them too."""
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
        """Take the widget off the page; a training it showed goes on."""
        self._unsubscribe()
        super().close()

    def _show(self, comparison: Comparison, **told: Any) -> None:
        """Put it on the page, with what else is `told` of it."""
        number = self._run + 1
        state = {**diff_state(comparison, number), **told}
        same = [token["text"] for token in state["tokens"]] == [token["text"] for token in self.tokens]
        with self._lock:
            nothing_before, self._shown = self._shown is None, comparison
            self._channel.restart(number)
            self._run, self._frames = number, {}
            for name, value in state.items():
                setattr(self, name, value)
            if nothing_before or self.layer not in self.layers:
                self.layer = self.layers[-1]
            names = [each["name"] for each in self.measures]
            self.measure = self.measure if self.measure in names else names[0]
            self.mode = "side" if self.mode == "square" and not self._crossed else self.mode
            self.token = self.token if same else None

    # -- a training

    def _show_training(self, history: TrainingHistory, job: Job | None, probe: int) -> None:
        if job is not None and in_colab():
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
        """In the job's thread: pass on what is new; `shown` are the epochs that were on the page before."""
        if isinstance(event, EpochValidated) and event.probe == probe and event.epoch and event.epoch not in shown:
            self._task_thread.post(partial(self._show_epoch, history, event.epoch, probe))

    def _show_epoch(self, history: TrainingHistory, epoch: int, probe: int) -> None:
        comparison = Comparison(history.run(0, probe), history.run(epoch, probe))
        models = {"raw": f"{history.model}, epoch 0", "tuned": f"{history.model}, epoch {epoch}"}
        with self._lock:
            if self._training is history:  # not of a training shown before
                self._show(comparison, models=models)

    @property
    def _crossed(self) -> bool:
        return set(self.models) >= {"-".join(pair) for pair in CROSSED}

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
        if mode == "square" and not self._crossed:
            raise t.TraitError("mode: there are no crossed runs; compare(..., attribution=True) paints them")
        return mode

    @t.validate("measure")
    def _known_measure(self, proposal: dict[str, Any]) -> str:
        measure, names = proposal["value"], [each["name"] for each in self.measures]
        if names and measure not in names:
            raise t.TraitError(f"measure: {measure!r} is none of {', '.join(names)}")
        return measure

    # -- nothing runs, and the browser saves the pictures by itself

    def _stop(self) -> None:
        """There is nothing to stop."""

    def _write_file(self, file_format: str, path: Path) -> None:
        raise ValueError(f"a DiffViewer is not saved as {file_format}")

    def _still_png(self) -> bytes | None:
        return None if self._shown is None else small_png(self._shown.grid())

    def __repr__(self) -> str:
        return "DiffViewer()" if self._shown is None else f"DiffViewer({self._shown!r})"


def _training(source: Any, probe: int) -> tuple[TrainingHistory, Job | None] | None:
    """The history to show and the job that goes on with it; None for nothing."""
    try:
        history, job = parts_of("DiffViewer", source)
    except TypeError:
        raise _refused(source) from None
    if history is None:
        return None
    if probe not in range(len(history.probes)):
        raise ValueError(f"probe: {probe} is outside 0..{len(history.probes) - 1}, the prompts of this training")
    return history, job


def _refused(source: Any) -> TypeError:
    return TypeError(
        f"DiffViewer shows a Comparison, a TrainingHistory or a TrainingJob, not {type(source).__name__}: try "
        "compare(raw_lens, tuned_lens, prompt)"
    )


def _checked(comparison: Comparison) -> Comparison:
    if not any(run.images for run in comparison.runs.values()):
        raise ValueError("this comparison has no pictures yet")
    return comparison
