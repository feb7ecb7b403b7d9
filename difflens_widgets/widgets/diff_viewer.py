"""DiffViewer: a raw and a tuned model side by side, under a curtain, in turn, or as what differs, for every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets as t

from ..comparison import CROSSED, Comparison
from ._base import STATIC, LensWidget
from ._diff_state import diff_state
from ._run_widget import _name_layers
from ._token import TokenTrait
from .encoding import small_png

MODES = ("side", "curtain", "blink", "difference", "square")


class DiffViewer(LensWidget):
    """The pictures of two models for every layer, what differs, and how much, over the layers.

    Under the pictures stand the curve of a measure over the layers, which picks the layer too, and the film of the
    tuned pictures.

    Parameters
    ----------
    comparison : Comparison, optional
        What `compare` gives, or two runs: ``Comparison(history.run(0), history.run(350))``. None: nothing yet, see
        `show`.

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
        If it is given something else than a Comparison.
    ValueError
        If no picture is painted.

    Examples
    --------
    >>> DiffViewer(compare(raw, tuned, "a photo of xon dog", attribution=True))  # doctest: +SKIP
    >>> ipywidgets.jslink((slider, "layer"), (viewer, "layer"))  # doctest: +SKIP
    """

    _esm = STATIC / "diff_viewer.js"

    layer = t.Int(0).tag(sync=True)
    mode = t.Unicode("side").tag(sync=True)
    measure = t.Unicode("").tag(sync=True)
    token = TokenTrait(None, allow_none=True).tag(sync=True)
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

    def __init__(self, comparison: Comparison | None = None) -> None:
        self._shown: Comparison | None = None
        if comparison is None:
            super().__init__()
            return
        state = diff_state(_checked(comparison))
        self._shown = comparison
        super().__init__(**state, layer=state["layers"][-1], measure=state["measures"][0]["name"])

    def show(self, comparison: Comparison) -> None:
        """Show another comparison; layer, mode, measure and word stay where the new one has them too."""
        number = self._run + 1
        state = diff_state(_checked(comparison), number)
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


def _checked(comparison: Any) -> Comparison:
    if not isinstance(comparison, Comparison):
        raise TypeError(
            f"DiffViewer shows a Comparison, not {type(comparison).__name__}: try compare(raw_lens, tuned_lens, prompt)"
        )
    if not any(run.images for run in comparison.runs.values()):
        raise ValueError("this comparison has no pictures yet")
    return comparison
