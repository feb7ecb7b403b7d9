"""BindingTable: in how many pictures a thing's color followed a patch, for each position and layer, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.axes import BLUE, GRAY, ORANGE, finish, layer_axis, new_figure
from ...analysis.intervals import wilson
from ...runs.format.atomic_write import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 2
POSITIONS = ("colour word", "thing word", "other thing word", "next word", "later words", "end token", "padding")
"""Where the source's states are put; "next word": the one behind the thing, "and" or the background's preposition;
"later words": all between it and the end, without the other thing's. Where the other thing stands first, its word has
not read the new color, and a patch of it changes nothing: a control."""
WHICH = ("first", "second")
PROMPT, SOURCE = "prompt", "source"  # the pictures without a patch
FOLLOWED, KEPT, MOVED, OTHER, MISSING = OUTCOMES = "fkwox"
"""Of one picture: the thing has the source's color; still the prompt's; the *other* thing got the source's color; the
thing has another color; there is no such thing."""


@dataclass(frozen=True)
class ColorSwap:
    """A prompt with two colored things, and the source prompt, in which `thing` is `new` in place of `old`."""

    prompt: str
    source: str
    thing: str
    other: str
    old: str
    new: str

    @property
    def which(self) -> str:
        """Whether `thing` is the "first" or the "second" of the prompt."""
        words = self.prompt.split()
        return WHICH[words.index(self.thing) > words.index(self.other)]


Outcomes = Mapping[str, str]
"""What was read in the pictures of one swap and seed: one mark of `OUTCOMES` for each layer, by position; one mark for
the stock pictures of `PROMPT` and `SOURCE`."""


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class BindingTable:
    """The outcomes of an experiment.

    Attributes
    ----------
    layers : tuple of int
        The blocks after which the states were exchanged (0: the embeddings), in ascending order.
    seeds : tuple of int
    swaps : tuple of ColorSwap
    outcomes : dict of (swap, seed) → Outcomes
    judge : str
        The description of the judge.
    settings : dict
        Those of the pictures, as in `LensRun.settings`.
    """

    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    swaps: tuple[ColorSwap, ...]
    outcomes: dict[tuple[ColorSwap, int], Outcomes]
    judge: str
    settings: dict[str, Any]

    def number(self, which: str | None = None, *, clean: bool = False) -> int:
        """How many pictures each share is of; `which` and `clean` as in `shares`."""
        return len(self._marks(PROMPT, which, clean))

    def shares(
        self, position: str, outcome: str = FOLLOWED, *, which: str | None = None, clean: bool = False
    ) -> np.ndarray:
        """Share of pictures with an outcome: float64 (layer, 3), the share and both ends of its 95 % Wilson interval.

        The interval assumes that all pictures are independent; those of one prompt are not fully so.

        Parameters
        ----------
        position : str
            One of `POSITIONS`; or "prompt" or "source", whose pictures have no patch and no layer: (1, 3).
        outcome : str
            One of `OUTCOMES`; default: the color followed.
        which : str, optional
            Only prompts whose "first", or whose "second" thing gets the new color; default: all.
        clean : bool
            Only prompts and seeds for which both pictures without a patch are right. Elsewhere the model cannot paint
            one of the two colors, and no patch can show anything.
        """
        marks, n = self._marks(position, which, clean), self.number(which, clean=clean)
        width = 1 if position in (PROMPT, SOURCE) else len(self.layers)
        counts = [sum(each[i] == outcome for each in marks) for i in range(width)]
        return np.array([(count / n if n else np.nan, *wilson(count, n)) for count in counts])

    def plot(self) -> Figure:
        """Draw for each position, over the layers, the share of pictures whose color followed, was kept, or moved."""
        return _plot(self)

    def save(self, path: str | Path) -> Path:
        """Write all outcomes and settings as JSON; the file appears under its name only when it is complete."""
        return write(Path(path), self.layers, self.seeds, self.swaps, self.judge, self.settings, self.outcomes)

    @classmethod
    def load(cls, path: str | Path) -> BindingTable:
        """Read a file of `save`, or of a finished experiment.

        Raises
        ------
        ValueError
            If it is no such file, or the experiment is not finished: the same command continues it.
        """
        content = read(Path(path))
        swaps = tuple(ColorSwap(**each["swap"]) for each in content["prompts"])
        found = outcomes_in(content)
        missing = len(swaps) * len(content["seeds"]) - len(found)
        if missing:
            raise ValueError(f"{path}: not finished, {missing} runs are missing")
        return cls(
            tuple(content["layers"]), tuple(content["seeds"]), swaps, found, content["judge"], content["settings"]
        )

    def _marks(self, position: str, which: str | None, clean: bool) -> list[str]:
        """The marks of a position, one text for each swap and seed."""
        if position not in (PROMPT, SOURCE, *POSITIONS):
            raise ValueError(f"position: {position!r} is none of {', '.join(map(repr, (PROMPT, SOURCE, *POSITIONS)))}")
        if which not in (None, *WHICH):
            raise ValueError(f"which: {which!r} is none of {', '.join(map(repr, WHICH))}")
        swaps = [swap for swap in self.swaps if which in (None, swap.which)]
        found = [self.outcomes[swap, seed] for swap in swaps for seed in self.seeds]
        return [each[position] for each in found if not clean or (each[PROMPT], each[SOURCE]) == (KEPT, FOLLOWED)]

    def __str__(self) -> str:
        def line(head: str, cells: list[str]) -> str:
            return (f"{head:<6}" + "".join(f"{cell:>18}" for cell in cells)).rstrip()

        rows = ["Pictures whose colour followed the patch, in percent [95 % Wilson interval]"]
        for which in WHICH:
            number, right = self.number(which), self.number(which, clean=True)
            rows += [
                "",
                f"The {which} thing gets the new colour: n = {number}; prompt and source are painted right in {right}",
                line("layer", list(POSITIONS)),
            ]
            shares = [self.shares(position, which=which) for position in POSITIONS]
            rows += [line(str(layer), [_percent(each[i]) for each in shares]) for i, layer in enumerate(self.layers)]
            source, prompt = (_percent(self.shares(name, which=which)[0]) for name in (SOURCE, PROMPT))
            rows.append(f"without a patch: {source} if the source is painted, {prompt} if the prompt is")
        return "\n".join(rows)


def _plot(table: BindingTable) -> Figure:
    columns = len(POSITIONS)
    figure, panels = new_figure(2.5 * columns, 6, columns=columns, count=len(WHICH) * columns)
    layers = np.array(table.layers)
    lines = ((FOLLOWED, BLUE, "followed the patch"), (KEPT, GRAY, "kept"), (MOVED, ORANGE, "went to the other thing"))
    cells = [(which, position) for which in WHICH for position in POSITIONS]
    for index, (axes, (which, position)) in enumerate(zip(panels, cells, strict=True)):
        for outcome, color, label in lines:
            share, low, high = 100 * table.shares(position, outcome, which=which).T
            axes.plot(layers, share, color=color, linewidth=2, marker="o", markersize=3, label=label)
            axes.fill_between(layers, low, high, color=color, alpha=0.15, linewidth=0)
        for name, style, label in ((SOURCE, "--", "the source itself"), (PROMPT, ":", "no patch")):
            share = 100 * table.shares(name, which=which)[0, 0]
            axes.axhline(share, color=BLUE, linewidth=1, linestyle=style, label=label)
        axes.set_title(position, fontsize=9, color="0.25")
        axes.set_ylim(-3, 103)
        layer_axis(axes, layers, "layer" if index >= len(cells) - columns else "", most=7)
        if index % columns == 0:
            axes.set_ylabel(f"{which} thing: pictures (%), n = {table.number(which)}", fontsize=9)
    panels[-1].legend(fontsize=7, frameon=False, loc="center left")
    settings = table.settings
    caption = " · ".join(
        [
            f"{settings.get('model')}, {settings.get('num_inference_steps')} steps, "
            f"guidance {settings.get('guidance_scale')}",
            f"{len(table.swaps)} prompts × {len(table.seeds)} seeds",
            "bands: 95 % Wilson intervals",
            "dashed and dotted: pictures with the new colour if the source, or the prompt, is painted without a patch",
        ]
    )
    return finish(figure, "Where a thing's colour can be exchanged: states patched at one layer and position", caption)


def _percent(share: np.ndarray) -> str:
    return "–" if np.isnan(share[0]) else "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * share))


def write(
    path: Path,
    layers: tuple[int, ...],
    seeds: tuple[int, ...],
    swaps: tuple[ColorSwap, ...],
    judge: str,
    settings: Mapping[str, Any],
    outcomes: Mapping[tuple[ColorSwap, int], Outcomes],
) -> Path:
    """Write an experiment as JSON, finished or not; null for a run that is still missing."""
    content = {
        "binding_schema": SCHEMA,
        "settings": dict(settings),
        "judge": judge,
        "layers": layers,
        "seeds": seeds,
        "prompts": [
            {"swap": asdict(swap), "outcomes": [outcomes.get((swap, seed)) for seed in seeds]} for swap in swaps
        ],
    }
    with replacing(path, "the table of binding") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
    return path


def read(path: Path) -> dict[str, Any]:
    """Read the content of such a file.

    Raises
    ------
    ValueError
        If it is none, or its version is not known.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no table of binding: {error}") from None
    if not isinstance(content, dict) or content.get("binding_schema") != SCHEMA:
        raise ValueError(f"{path}: no table of binding, or of another version than {SCHEMA}")
    return content


def outcomes_in(content: Mapping[str, Any]) -> dict[tuple[ColorSwap, int], Outcomes]:
    """The outcomes of the runs that are there."""
    return {
        (ColorSwap(**each["swap"]), seed): marks
        for each in content["prompts"]
        for seed, marks in zip(content["seeds"], each["outcomes"], strict=True)
        if marks is not None
    }
