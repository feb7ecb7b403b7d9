"""TokenAttentionGrid: the attention maps of each word, for each encoder layer, denoiser block or denoising step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import traitlets as t
from PIL import Image

from ..runs.events import LayerImage
from ..runs.job import LensJob
from ..runs.maps.maps import AttentionMaps, LensAttention
from ..runs.render.attention_front_end import (
    attention_state,
    describe_attention,
    encode_maps,
    is_stock_picture,
    maps_key,
)
from ..runs.render.attention_still import draw_still
from ..runs.render.front_end import steps_of, token_number
from ..runs.render.page import PageView
from ..runs.render.page.run_views import attention_view
from ..runs.run import LensRun
from ..runs.tokens import PromptPart
from ..runs.words import positions_of
from ._base import CHOICE, read_static
from ._run_widget import RunWidget
from ._stock_picture import stock_picture
from ._token import TokenTrait

_ROWS = ("layers", "blocks", "steps")
_NORMALIZE = ("grid", "cell")
_MAX_SELECTED = 2


class TokenAttentionGrid(RunWidget):
    """A grid with a column for each word of the prompt; each cell has the word's attention map over the image.

    The rows are the text encoder's layers, the denoiser's blocks, or the denoising steps. Pointing at a word shows its
    map on the large image. A click selects the word, so that its map stays; a shift-click selects a second word, which
    is drawn in another color.

    The browser gets one byte for each value of a map, and at most 64 × 64 pixels, or 32 × 32 for single steps. That is
    0.2 MB for each layer of SD 1.5 with a prompt of eleven words, and 14 KB more for each step that was kept.

    Parameters
    ----------
    source : LensRun, LensJob, AttentionMaps or None
        What to show: a run with `attention`, or the maps of one stock image (`capture_attention`). The grid shows a
        job's results while it runs. None: nothing yet, see `show`.
    picture : PIL.Image, optional
        The image that the `AttentionMaps` belong to. Only with `AttentionMaps`.
    static : bool
        As for a `LayerSlider`.

    Attributes
    ----------
    rows : "layers", "blocks" or "steps"
        What the rows are. Blocks and steps are those of the layer on screen. "steps" needs steps that were kept
        (`AttentionOptions(steps=[...])`); "layers" does not work for a stock image.
    layer : int
        The layer on screen, one of `layers`. A running job generates it next.
    block : str or None
        The denoiser's block whose maps are shown, one of `blocks`. None: all blocks together. The rows "steps" always
        show all blocks together.
    step : int or None
        The step whose maps are shown; 0 is the first. None: all steps together. If it was not kept, the grid shows the
        nearest step before it, and says so.
    token : int or None
        The first of `selected_tokens`, or the position of any token of that word; -1 is the padding.
    selected_tokens : list of int
        The words whose maps stay on the large image, at most two, by the position of their first token (-1: the
        padding). It takes the same words as `AttentionMaps.heatmap`: `grid.selected_tokens = ["cat"]`.
    normalize : "grid" or "cell"
        The color range of a map. "grid" (default): one range for the words of all rows, and one for start, end and
        padding. "cell": each map from 0 to its own maximum.
    opacity : float
        Of the maps over the images, 0..1.
    layers, num_layers, prompt, tokens, settings
        What is shown.
    columns : list of dict
        The token, text, kind ("word", "bos", "eos" or "pad") and positions of each column.
    blocks : list of str
        The denoiser's blocks that have maps.
    steps : list of int
        The steps that were kept.
    aggregator : "mean" or "daam"
        The unit of the values: the mean share of a pixel's attention, 0..1; or DAAM's sum over the steps.
    status, progress, failures
        As for a `LayerSlider`.

    Raises
    ------
    ValueError
        If the run has no attention maps, or if the image does not have the size that the maps were made for.
    TypeError
        If the source is something else, if `AttentionMaps` come without their image, or an image without them.

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
    selected_tokens = t.List(t.Any()).tag(**CHOICE)
    normalize = t.Unicode("grid").tag(**CHOICE)
    opacity = t.Float(0.65).tag(**CHOICE)
    columns = t.List(t.Dict()).tag(sync=True)
    blocks = t.List(t.Unicode()).tag(sync=True)
    steps = t.List(t.Int()).tag(sync=True)
    aggregator = t.Unicode("mean").tag(sync=True)

    _views = t.List(t.Dict()).tag(sync=True)

    def __init__(
        self,
        source: LensRun | LensJob | AttentionMaps | None = None,
        picture: Image.Image | None = None,
        *,
        static: bool = False,
    ) -> None:
        super().__init__(_as_run(source, picture), static=static)

    def show(self, source: LensRun | LensJob | AttentionMaps, picture: Image.Image | None = None) -> None:
        """Show another run, job or stock image; the arguments are those of the class. The job before goes on."""
        super().show(_as_run(source, picture))

    # -- what is shown

    def _check_run(self, run: LensRun) -> None:
        _maps_of(run)

    def _describe(self, run: LensRun) -> dict[str, Any]:
        return {**describe_attention(run, _maps_of(run)), **self._selection(run)}

    def _record_state(self, run: LensRun, number: int = 0) -> dict[str, Any]:
        return {**attention_state(run, _maps_of(run), number), **self._selection(run)}

    def _selection(self, run: LensRun) -> dict[str, Any]:
        """Keep those choices of the user that this run has too."""
        attention = _maps_of(run)
        same = [token.text for token in run.tokens] == [token["text"] for token in self.tokens]
        return {
            "rows": "blocks" if _why_not(self.rows, run) else self.rows,
            "block": self.block if self.block in attention.blocks else None,
            "selected_tokens": self.selected_tokens if same else [],
            "token": self.token if same else None,
        }

    def _on_layer_image(self, event: LayerImage, run: LensRun) -> None:
        super()._on_layer_image(event, run)
        attention, key = _maps_of(run), maps_key(event.layer)
        if event.layer in attention:
            self._frames[key] = self._channel.finished(key, steps_of(run), *encode_maps(attention[event.layer]))

    # -- choices of the user

    @t.validate("rows")
    def _known_rows(self, proposal: dict[str, Any]) -> str:
        rows = proposal["value"]
        if rows not in _ROWS:
            raise t.TraitError(f'rows: expected "layers", "blocks" or "steps", got {rows!r}')
        reason = _why_not(rows, self._shown)
        if reason:
            raise t.TraitError(f"rows: {reason}")
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

    @t.validate("normalize")
    def _known_range(self, proposal: dict[str, Any]) -> str:
        normalize = proposal["value"]
        if normalize not in _NORMALIZE:
            raise t.TraitError(f'normalize: expected "grid" or "cell", got {normalize!r}')
        return normalize

    @t.validate("selected_tokens")
    def _known_words(self, proposal: dict[str, Any]) -> list[int]:
        selected = list(dict.fromkeys(self._requested_column(word) for word in proposal["value"]))
        if len(selected) > _MAX_SELECTED:
            raise t.TraitError(f"selected_tokens: at most {_MAX_SELECTED} words, got {len(selected)}")
        return selected

    @t.observe("token")
    def _on_token(self, _: dict[str, Any]) -> None:
        column = self._column_with(self.token)
        if self.selected_tokens[:1] != ([] if column is None else [column]):
            self.selected_tokens = [] if column is None else [column]

    @t.observe("selected_tokens")
    def _on_selected_tokens(self, _: dict[str, Any]) -> None:
        first = self.selected_tokens[0] if self.selected_tokens else None
        if self._column_with(self.token) != first:
            self.token = first

    def _column_with(self, token: int | None) -> int | None:
        """The number of the column that has a token; None: no column has it."""
        for column in self.columns:
            if token == column["token"] or token in column["positions"]:
                return column["token"]
        return None

    def _requested_column(self, word: Any) -> int:
        """The number of the column of a word that was assigned to `selected_tokens`."""
        if self._shown is None:
            raise t.TraitError("selected_tokens: there are no words yet, see `show`")
        if word == token_number(PromptPart.PADDING):
            word = PromptPart.PADDING
        try:
            positions = positions_of(word, self._shown.tokens)
        except (ValueError, TypeError) as error:
            raise t.TraitError(f"selected_tokens: {str(error).removeprefix('word: ')}") from None
        column = self._column_with(positions[0])
        found = next(each for each in self.columns if each["token"] == column)
        if not {*positions} <= {*found["positions"]}:
            raise t.TraitError(f"selected_tokens: {word!r} is more than one word; select each by itself")
        return found["token"]

    # -- files and the still image

    def _write_file(self, file_format: str, path: Path) -> None:
        if self._shown is None or file_format != "html":
            raise ValueError(f"a TokenAttentionGrid is not saved as {file_format}")
        self._shown.to_html(path)

    def _page_of(self, run: LensRun, thinning: int = 0) -> PageView:
        return attention_view(run, thinning)

    def _draw_still(self, run: LensRun) -> Image.Image:
        return draw_still(run, _maps_of(run))


def _maps_of(run: LensRun) -> LensAttention:
    if run.attention is None:
        raise ValueError("this run has no attention maps; paint it with them: lens(prompt, attention=True)")
    return run.attention


def _why_not(rows: str, run: LensRun | None) -> str:
    """Say why the rows cannot be these; "" if they can."""
    if run is None or run.attention is None:
        return ""
    if rows == "layers" and is_stock_picture(run):
        return 'a single picture has no layers to compare; take "blocks"'
    if rows == "steps" and not run.attention.steps:
        return "no step was kept by itself; attention=AttentionOptions(steps=[0, 5, 10]) keeps steps"
    return ""


def _as_run(source: Any, picture: Image.Image | None) -> Any:
    """Make a run of one layer from the maps of a stock image; give anything else back as it is."""
    if not isinstance(source, AttentionMaps):
        if isinstance(source, list) and source and isinstance(source[0], AttentionMaps):
            raise TypeError("these are the maps of several pictures; show one: TokenAttentionGrid(maps[0], picture)")
        if picture is not None:
            raise TypeError("a picture belongs to AttentionMaps only; a run has its own")
        return source
    if not isinstance(picture, Image.Image):
        raise TypeError("AttentionMaps are shown over their picture: TokenAttentionGrid(maps, picture), a PIL image")
    return stock_picture(source, picture)
