"""TokenAttentionGrid: where each word looks, for every layer of the encoder, block of the U-Net, or denoising step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets as t
from PIL import Image

from ..runs.events import LayerImage
from ..runs.job import LensJob
from ..runs.maps.maps import AttentionMaps, LensAttention
from ..runs.render.front_end import steps_of, token_number
from ..runs.run import LensRun
from ..runs.tokens import PromptPart
from ..runs.words import positions_of
from ._attention_state import (
    attention_state,
    describe_attention,
    encode_maps,
    is_stock_picture,
    maps_key,
    stock_picture,
)
from ._attention_still import draw_still
from ._base import CHOICE, read_static
from ._run_widget import RunWidget
from ._token import TokenTrait

_ROWS = ("layers", "blocks", "steps")
_MOST_PINNED = 2


class TokenAttentionGrid(RunWidget):
    """The words of a prompt as columns, and in each cell where that word looks, drawn over the picture.

    The rows are the text encoder's layers, the U-Net's blocks, or the denoising steps. A word that is pointed at lights
    up on the big picture; a click pins it, a click with shift adds a second one in another colour.

    Maps travel and are kept as one byte a value (a scale for each map), at most 64 pixels a side, those of single steps
    at most 32: 0.2 MB a layer for SD 1.5 and a prompt of eleven words, and 14 KB more for each step that was kept.

    Parameters
    ----------
    source : LensRun, LensJob, AttentionMaps or None
        What to show: a run with `attention`, or the maps of one stock picture (`capture_attention`). A job is followed
        while it paints. None: nothing yet, see `show`.
    picture : PIL.Image, optional
        The picture that the `AttentionMaps` are of; only with them.

    Attributes
    ----------
    rows : "layers", "blocks" or "steps"
        What the rows are. Blocks and steps are those of the layer on screen; steps only where some were kept
        (`AttentionOptions(steps=[...])`), layers not for a stock picture.
    layer : int
        The layer on screen, one of `layers`. A running job paints it next.
    block : str or None
        The U-Net block whose maps are shown, one of `blocks`; None: all of them together. Steps are of all together.
    step : int or None
        The step whose maps are shown, 0 is the first; None: all together. Where it was not kept, the nearest below is
        shown, and said so.
    token : int or None
        The word on the picture, by the index of any of its tokens; -1 is the padding. The first of those pinned.
    pinned : list of int
        At most two words on the picture, by the index of their first token (-1: the padding). May be set as for
        `AttentionMaps.map`: `grid.pinned = ["cat"]`.
    per_cell : bool
        Whether each map has a colour range of its own. False: one range for the words of all rows, and one for start,
        end and padding.
    opacity : float
        Of the maps over the pictures, 0..1.
    layers, num_layers, prompt, tokens, settings
        What is shown.
    columns : list of dict
        token, text, kind ("word", "bos", "eos" or "pad") and places of each column.
    blocks : list of str
    steps : list of int
        The steps that were kept.
    aggregator : "mean" or "daam"
        What the values are: the mean share of a pixel's attention, 0..1; or DAAM's sum over the steps.
    status, progress, failures
        As of a `LayerSlider`.

    Raises
    ------
    ValueError
        If the run has no attention maps, or the picture is not of the size that the maps were made for.
    TypeError
        If the source is something else, or a picture is missing or too much.

    Examples
    --------
    >>> TokenAttentionGrid(lens.start("a pink cat", attention=True))  # doctest: +SKIP
    >>> TokenAttentionGrid(maps[0], picture)  # doctest: +SKIP
    >>> ipywidgets.jslink((slider, "layer"), (grid, "layer"))  # doctest: +SKIP
    """

    _esm = read_static("token_attention_grid.js")
    _name = "TokenAttentionGrid"

    step = t.Int(None, allow_none=True).tag(**CHOICE)
    token = TokenTrait(None, allow_none=True).tag(**CHOICE)
    rows = t.Unicode("layers").tag(**CHOICE)
    block = t.Unicode(None, allow_none=True).tag(**CHOICE)
    pinned = t.List(t.Any()).tag(**CHOICE)
    per_cell = t.Bool(False).tag(**CHOICE)
    opacity = t.Float(0.65).tag(**CHOICE)
    columns = t.List(t.Dict()).tag(sync=True)
    blocks = t.List(t.Unicode()).tag(sync=True)
    steps = t.List(t.Int()).tag(sync=True)
    aggregator = t.Unicode("mean").tag(sync=True)

    _views = t.List(t.Dict()).tag(sync=True)

    def __init__(
        self, source: LensRun | LensJob | AttentionMaps | None = None, picture: Image.Image | None = None
    ) -> None:
        super().__init__(_as_run(source, picture))

    def show(self, source: LensRun | LensJob | AttentionMaps, picture: Image.Image | None = None) -> None:
        """Show another run, job or stock picture; takes what the class takes. A job shown before goes on, unseen."""
        super().show(_as_run(source, picture))

    # -- what is shown

    def _check_run(self, run: LensRun) -> None:
        _maps_of(run)

    def _describe(self, run: LensRun) -> dict[str, Any]:
        return {**describe_attention(run, _maps_of(run)), **self._selection(run)}

    def _record_state(self, run: LensRun, number: int = 0) -> dict[str, Any]:
        return {**attention_state(run, _maps_of(run), number), **self._selection(run)}

    def _selection(self, run: LensRun) -> dict[str, Any]:
        """What stays selected when this run is shown: what it has too."""
        attention = _maps_of(run)
        same = [token.text for token in run.tokens] == [token["text"] for token in self.tokens]
        return {
            "rows": "blocks" if _why_not(self.rows, run) else self.rows,
            "block": self.block if self.block in attention.blocks else None,
            "pinned": self.pinned if same else [],
            "token": self.token if same else None,
        }

    def _on_layer_image(self, event: LayerImage, run: LensRun) -> None:
        super()._on_layer_image(event, run)
        attention, key = _maps_of(run), maps_key(event.layer)
        if event.layer in attention:
            self._frames[key] = self._channel.finished(key, steps_of(run), *encode_maps(attention[event.layer]))

    # -- the user speaks

    @t.validate("rows")
    def _known_rows(self, proposal: dict[str, Any]) -> str:
        rows = proposal["value"]
        if rows not in _ROWS:
            raise t.TraitError(f'rows: expected "layers", "blocks" or "steps", got {rows!r}')
        why = _why_not(rows, self._shown)
        if why:
            raise t.TraitError(f"rows: {why}")
        return rows

    @t.validate("block")
    def _known_block(self, proposal: dict[str, Any]) -> str | None:
        block = proposal["value"]
        if block is not None and block not in self.blocks:
            raise t.TraitError(f"block {block!r} is not there: there are {', '.join(self.blocks) or 'none yet'}")
        return block

    @t.validate("opacity")
    def _valid_opacity(self, proposal: dict[str, Any]) -> float:
        opacity = proposal["value"]
        if not 0 <= opacity <= 1:
            raise t.TraitError(f"opacity is 0..1, not {opacity}")
        return opacity

    @t.validate("pinned")
    def _known_words(self, proposal: dict[str, Any]) -> list[int]:
        pinned = list(dict.fromkeys(self._column_asked(word) for word in proposal["value"]))
        if len(pinned) > _MOST_PINNED:
            raise t.TraitError(f"pinned: at most {_MOST_PINNED} words, got {len(pinned)}")
        return pinned

    @t.observe("token")
    def _on_token(self, _: dict[str, Any]) -> None:
        column = self._column_with(self.token)
        if self.pinned[:1] != ([] if column is None else [column]):
            self.pinned = [] if column is None else [column]

    @t.observe("pinned")
    def _on_pinned(self, _: dict[str, Any]) -> None:
        first = self.pinned[0] if self.pinned else None
        if self._column_with(self.token) != first:
            self.token = first

    def _column_with(self, token: int | None) -> int | None:
        """The name of the column that a token is in."""
        return next((each["token"] for each in self.columns if token == each["token"] or token in each["places"]), None)

    def _column_asked(self, word: Any) -> int:
        if self._shown is None:
            raise t.TraitError("pinned: there are no words yet, see `show`")
        if word == token_number(PromptPart.PADDING):
            word = PromptPart.PADDING
        try:
            places = positions_of(word, self._shown.tokens)
        except (ValueError, TypeError) as error:
            raise t.TraitError(f"pinned: {str(error).removeprefix('word: ')}") from None
        column = self._column_with(places[0])
        found = next(each for each in self.columns if each["token"] == column)
        if not {*places} <= {*found["places"]}:
            raise t.TraitError(f"pinned: {word!r} is more than one word; pin each by itself")
        return found["token"]

    # -- files and the still picture

    def _write_file(self, file_format: str, path: Path) -> None:
        raise ValueError(f"a TokenAttentionGrid is not saved as {file_format}")

    def _draw_still(self, run: LensRun) -> Image.Image:
        return draw_still(run, _maps_of(run))


def _maps_of(run: LensRun) -> LensAttention:
    if run.attention is None:
        raise ValueError("this run has no attention maps; paint it with them: lens(prompt, attention=True)")
    return run.attention


def _why_not(rows: str, run: LensRun | None) -> str:
    """Why these cannot be the rows; "" where they can."""
    if run is None or run.attention is None:
        return ""
    if rows == "layers" and is_stock_picture(run):
        return 'a single picture has no layers to compare; take "blocks"'
    if rows == "steps" and not run.attention.steps:
        return "no step was kept by itself; attention=AttentionOptions(steps=[0, 5, 10]) keeps steps"
    return ""


def _as_run(source: Any, picture: Image.Image | None) -> Any:
    """The maps of one stock picture as a run of one layer; anything else as it is."""
    if not isinstance(source, AttentionMaps):
        if isinstance(source, list) and source and isinstance(source[0], AttentionMaps):
            raise TypeError("these are the maps of several pictures; show one: TokenAttentionGrid(maps[0], picture)")
        if picture is not None:
            raise TypeError("a picture belongs to AttentionMaps only; a run has its own")
        return source
    if not isinstance(picture, Image.Image):
        raise TypeError("AttentionMaps are shown over their picture: TokenAttentionGrid(maps, picture), a PIL image")
    return stock_picture(source, picture)
