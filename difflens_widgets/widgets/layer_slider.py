"""LayerSlider: scrub through the layers of a text encoder, also while they are being painted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets as t
from PIL import Image

from ..runs.events import Event, Snapshot, TokenFailed, TokenImage
from ..runs.render.encoding import encode_kept
from ..runs.render.front_end import describe_slider, frame_key, record_state, static_state, steps_of
from ..runs.run import LensRun
from ._base import CHOICE, STATIC
from ._run_widget import RunWidget
from ._token import TokenTrait


class LayerSlider(RunWidget):
    """A big picture, the film of all layers, and a slider over them.

    A run with `snapshots` has a second slider beside the picture, over the denoising steps that were kept. One with
    `tokens` has a grid in place of the film: a row for the whole prompt and for each token, a column for each layer.
    Snapshots and token pictures travel as lossy WebP of at most 512 pixels a side, and are in a notebook that saves
    its widgets: about 45 KB each for 512 × 512, so 2.3 MB for 13 layers × 4 steps.

    Parameters
    ----------
    source : LensRun, LensJob or None
        What to show; a job is followed while it paints. None: nothing yet, see `show`.

    Attributes
    ----------
    layer : int
        The layer on screen, one of `layers`. A running job paints it next.
    step : int or None
        The denoising step on screen, 0 is the first; None: the final picture. Where it was not kept, the nearest below
        is shown, and said so. Steps are those of the whole prompt.
    token : int or None
        The token kept by itself on screen, as in `LensRun.token_masks`: by its index; -1 is `PromptPart.PADDING`, -2
        `PromptPart.PROMPT` (a PromptPart may be assigned). None: the whole prompt. An index without pictures of its
        own is only marked.
    layers, num_layers, prompt, tokens, settings
        What is shown.
    snapshots : list of int
        The steps that are kept.
    token_masks : list of dict
        `token` and `positions` of each token with pictures of its own, in the order of the grid's rows.
    status : "empty", "running", "done", "stopped" or "failed"
    progress : dict
        layers_done, layers_total, running, step, steps, seconds_left, tokens_done, tokens_total, running_tokens.
    failures : dict of layer → reason
    token_failures : dict of "layer/LAYER/token/TOKEN" → reason

    Examples
    --------
    >>> LayerSlider(lens.start("a pink cat"))  # doctest: +SKIP
    >>> ipywidgets.jslink((raw, "layer"), (tuned, "layer"))  # doctest: +SKIP
    """

    _esm = STATIC / "layer_slider.js"
    _name = "LayerSlider"

    step = t.Int(None, allow_none=True).tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)
    snapshots = t.List(t.Int()).tag(sync=True)
    token_masks = t.List(t.Dict()).tag(sync=True)
    token_failures = t.Dict().tag(sync=True)

    static_state = staticmethod(static_state)

    def _describe(self, run: LensRun) -> dict[str, Any]:
        return {**describe_slider(run), "token_failures": {}}

    def _record_state(self, run: LensRun, number: int = 0) -> dict[str, Any]:
        return record_state(run, number)

    def _on_other_event(self, event: Event, run: LensRun) -> None:
        if isinstance(event, Snapshot):
            key = frame_key(event.layer, event.step)
            self._frames[key] = self._channel.final(key, event.image, event.step + 1, encode_kept)
        elif isinstance(event, TokenImage):
            key = frame_key(event.layer, token=event.token)
            self._frames[key] = self._channel.final(key, event.image, steps_of(run), encode_kept)
        elif isinstance(event, TokenFailed):
            key = frame_key(event.layer, token=event.token)
            self.token_failures = {**self.token_failures, key: event.message}

    @t.observe("step", "token")
    def _on_place(self, _: dict[str, Any]) -> None:
        self._put_first()

    def _key_on_screen(self) -> str:
        has_pictures = any(row["token"] == self.token for row in self.token_masks)
        return frame_key(self.layer, self.step, self.token if has_pictures else None)

    def _write_file(self, file_format: str, path: Path) -> None:
        run = self._shown
        if run is None or not run.images:
            raise ValueError("there is no picture to save yet")
        if file_format == "gif":
            run.to_gif(path)
        else:
            run.to_html(path)

    def _draw_still(self, run: LensRun) -> Image.Image:
        return run.grid()
