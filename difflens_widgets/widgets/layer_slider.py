"""LayerSlider: scrub through the layers of a text encoder, also while a job paints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets as t
from PIL import Image

from ..runs.events import Event, Snapshot, TokenFailed, TokenImage
from ..runs.render.encoding import encode_kept
from ..runs.render.front_end import describe_slider, frame_key, on_screen, record_state, steps_of
from ..runs.render.page import PageView
from ..runs.render.page.run_views import slider_view
from ..runs.run import LensRun
from ._base import CHOICE, read_static
from ._run_widget import RunWidget
from ._token import TokenTrait


class LayerSlider(RunWidget):
    """A large picture, a film strip of all layers, and a slider over the layers.

    A run with `snapshots` has a second slider beside the picture, over the denoising steps that were kept. A run with
    `keep_tokens` has a grid instead of the film strip: one row for the whole prompt and one for each kept token, one
    column for each layer; a patch or steering has one for the unchanged picture and one for each pair or strength, and
    opens on the first pair or strength at the first layer.
    Snapshots and token pictures are sent as lossy WebP of at most 512 pixels a side. A notebook
    that saves its widgets contains them: about 45 KB for each picture of 512 × 512, so 2.3 MB for 13 layers × 4 steps.

    Parameters
    ----------
    source : LensRun, LensJob or None
        The run to show, or the job to follow while it paints. None: nothing yet, see `show`.
    static : bool
        True: the cell's output is a page with this widget, which stays interactive in the saved notebook, without a
        kernel (JupyterLab, nbconvert, nbviewer, Quarto). A job is waited for. It shows the layer and the choices of the
        moment when it is displayed; later changes in Python are not seen. Pictures are reduced to fit into 2 MB.

    Attributes
    ----------
    layer : int
        The layer on screen, one of `layers`. A running job paints this layer next.
    step : int or None
        The denoising step on screen, 0 is the first; None: the final picture. If this step was not kept, the nearest
        kept step below it is shown and the caption says so. Only the whole prompt has steps.
    token : int or None
        The kept token on screen, a key of `LensRun.token_masks`: the index of a token, -1 for `PromptPart.PADDING` or
        -2 for `PromptPart.PROMPT` (a PromptPart may be assigned), or -3, -4, … for one of `run.variants` (which may be
        assigned too). None: the whole prompt, unchanged. An index that has no pictures of its own is only marked in
        the caption.
    layers, num_layers, prompt, tokens, settings
        As in the run that is shown.
    snapshots : list of int
        The denoising steps that were kept, 0 is the first.
    token_masks : list of dict
        `token` (int) and `positions` (list of int) of each token that has pictures of its own, in the order of the
        grid's rows; of a variant also its `label`.
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

    _esm = read_static("layer_slider.js")
    _name = "LayerSlider"

    step = t.Int(None, allow_none=True).tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)
    snapshots = t.List(t.Int()).tag(sync=True)
    token_masks = t.List(t.Dict()).tag(sync=True)
    token_failures = t.Dict().tag(sync=True)

    def _choices(self, run: LensRun, layer: int | None) -> dict[str, Any]:
        return on_screen(run, layer, self.token)._asdict()

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
    def _on_step_or_token(self, _: dict[str, Any]) -> None:
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

    def _page_of(self, run: LensRun, thinning: int = 0) -> PageView:
        return slider_view(run, thinning)

    def _draw_still(self, run: LensRun) -> Image.Image:
        return run.grid()
