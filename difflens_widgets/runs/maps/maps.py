"""Attention maps, the record: of one picture, and of each layer's picture of a lens run. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..tokens import PromptPart, read_words, word_text
from ..words import places_of
from .mask import read_mask
from .plan import Plan
from .resample import enlarged, shrunk

Blocks = str | Iterable[str]


@dataclass(frozen=True)
class Summed:
    """Each block's maps (token, height, width), float32, summed over `forwards` of the denoiser."""

    maps: Mapping[str, np.ndarray]
    forwards: int


class _Planned:
    """What is known of maps from what was planned to be kept."""

    plan: Plan

    @property
    def words(self) -> tuple[str, ...]:
        """The prompt's words, in order; one that stands twice is there twice."""
        return tuple(word_text(word) for word in read_words(self.plan.tokens))

    @property
    def blocks(self) -> tuple[str, ...]:
        """The denoiser's blocks that look at the text, as diffusers names them."""
        return tuple(block.name for block in self.plan.blocks)


@dataclass(frozen=True)
class AttentionMaps(_Planned):
    """Where each token of a prompt is looked at, in one picture.

    Attributes
    ----------
    plan : Plan
        What was kept: tokens, aggregator, blocks and their resolutions, steps.
    total : Summed
        All steps together.
    by_step : mapping of step → Summed
        The steps that were asked for, each by itself; 0 is the first.
    """

    plan: Plan
    total: Summed
    by_step: Mapping[int, Summed] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a map by itself."""
        return tuple(self.by_step)

    @property
    def others(self) -> tuple[str, ...]:
        """What is looked at beside these tokens in joint attention: "image", of SD3 "other text"; else nothing."""
        return self.plan.others

    @property
    def nbytes(self) -> int:
        """What the maps take."""
        return sum(maps.nbytes for summed in (self.total, *self.by_step.values()) for maps in summed.maps.values())

    def map(
        self, word: int | str | PromptPart, *, block: Blocks | None = None, step: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Where a word is looked at.

        Parameters
        ----------
        word : str, int or PromptPart
            A word of the prompt, or several that follow one another: the mean of their tokens' maps. An index: that
            token alone (0 is the start token). `PromptPart.PADDING`: the share of all padding together.
        block : str or iterable of str, optional
            One block at its own resolution, or the mean of several at the latents'. Default: all of them.
        step : int, optional
            One of `steps`. Default: all steps together.

        Returns
        -------
        float32 array (height, width)
            "mean": the share of each pixel's attention, 0..1, mean over heads, layers and steps; with joint attention
            (SD3, FLUX) of all its attention, the image's own included: see `other`. "daam": DAAM's map, ≥ 0, summed
            over steps (of the one step, where one is given).

        Raises
        ------
        ValueError, TypeError
            For a word that is not in the prompt or stands there several times, a block there is not, or a step that
            was not kept.
        """
        places = places_of(word, self.plan.tokens)
        rows = [self.plan.places] if word is PromptPart.PADDING else list(places)
        return self._averaged(lambda of_block: of_block[rows].mean(0, dtype=np.float64), block, step)

    def of_tokens(self, *, block: Blocks | None = None, step: int | None = None) -> npt.NDArray[np.float32]:
        """What `map` gives of each place, with the same `block` and `step`, and of all padding together.

        Returns
        -------
        float32 array (tokens, height, width)
            Start, words and end in their order; the padding last, where there is some.
        """
        rows = self.plan.places + self.plan.has_padding
        return self._averaged(lambda of_block: of_block[:rows].astype(np.float64), block, step)

    def _averaged(
        self, pick: Callable[[np.ndarray], np.ndarray], block: Blocks | None, step: int | None
    ) -> npt.NDArray[np.float32]:
        """What `pick` takes of each block asked for, averaged over them."""
        maps, forwards = self._blocks_asked(block), self._step_asked(step)
        summed = self.total if step is None else self.by_step[step]
        weights = {asked.name: asked.weight for asked in self.plan.blocks if asked.name in maps}
        size = None if isinstance(block, str) else self.plan.grid
        found = np.zeros(())
        for name, weight in weights.items():
            of_block = pick(summed.maps[name])
            found = found + weight * (of_block if size is None else enlarged(of_block, size))
        return (found / (sum(weights.values()) * forwards)).astype(np.float32)

    def other(self, name: str, *, block: Blocks | None = None, step: int | None = None) -> npt.NDArray[np.float32]:
        """How much of each pixel's attention does not go to these tokens, but to one of `others`.

        With "mean" the maps of all places, the padding and all `others` are 1 together at each pixel.

        Parameters
        ----------
        name : str
            One of `others`: "image" is what the picture looks at in itself, "other text" what SD3's denoiser is given
            of the text encoders whose tokens these are not.
        block, step
            As for `map`.

        Returns
        -------
        float32 array (height, width)

        Raises
        ------
        ValueError
            If there is no such name, block or step.
        """
        if name not in self.others:
            there = ", ".join(map(repr, self.others)) or "none: cross-attention looks at the tokens only"
            raise ValueError(f"name: there is no other {name!r}; there are: {there}")
        row = self.plan.rows - len(self.others) + self.others.index(name)
        return self._averaged(lambda of_block: of_block[row].astype(np.float64), block, step)

    def mass_inside(
        self,
        mask: npt.ArrayLike,
        word: int | str | PromptPart,
        *,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> float:
        """How much of a word's attention falls inside a mask, 0..1: so one sees whether `xon` leaks out of its subject.

        Parameters
        ----------
        mask : array (height, width) of bool, or of numbers 0..1
            Of the picture's size, or of the latents'. Where it is finer than the map, its mean over each of the map's
            pixels counts.
        word, block, step
            As for `map`. Compare with `mask.mean()`, which an even map would give.

        Returns
        -------
        float
            NaN for a map that is 0 everywhere.

        Raises
        ------
        ValueError, TypeError
            As `map`, and for a mask of another size or with other values.
        """
        inside = read_mask(mask, self.plan)
        found = self.map(word, block=block, step=step).astype(np.float64)
        total = found.sum()
        return float((found * shrunk(inside, found.shape)).sum() / total) if total else float("nan")

    def _blocks_asked(self, block: Blocks | None) -> set[str]:
        asked = self.blocks if block is None else (block,) if isinstance(block, str) else tuple(block)
        if not asked:
            raise ValueError(f"block: empty; there are {', '.join(self.blocks)}")
        for name in asked:
            if name not in self.blocks:
                raise ValueError(f"block: there is no {name!r}; there are {', '.join(self.blocks)}")
        return set(asked)

    def _step_asked(self, step: int | None) -> int:
        """What the maps asked for are divided by: DAAM's are sums."""
        if step is not None and step not in self.by_step:
            kept = f"those kept are {', '.join(map(str, self.steps))}" if self.steps else "none was kept by itself"
            raise ValueError(f"step: {step} was not kept; {kept}. AttentionOptions(steps=[...]) keeps steps")
        if self.plan.aggregator == "daam":
            return 1
        return (self.total if step is None else self.by_step[step]).forwards

    def __repr__(self) -> str:
        return f"AttentionMaps({' '.join(self.words)!r}, {len(self.blocks)} blocks, {len(self.steps)} steps kept)"


class LensAttention(_Planned):
    """The attention maps of a lens run: for each layer of the text encoder, those of its own picture.

    `attention[7]` are the maps of layer 7, an `AttentionMaps`; a layer is there once it is painted.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._of_layer: dict[int, AttentionMaps] = {}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are there, the lowest first."""
        return tuple(sorted(self._of_layer))

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have a map by itself."""
        return self.plan.steps

    def map(
        self,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Where a word is looked at in the picture of `layer` (default: the highest there is).

        Everything else, and what comes back, is as for `AttentionMaps.map`.
        """
        return self[self._default(layer)].map(word, block=block, step=step)

    def mass_inside(
        self,
        mask: npt.ArrayLike,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> float:
        """How much of a word's attention falls inside a mask; see `map` and `AttentionMaps.mass_inside`."""
        return self[self._default(layer)].mass_inside(mask, word, block=block, step=step)

    def add(self, layer: int, maps: AttentionMaps) -> None:
        """Enter the maps of a layer's picture."""
        self._of_layer[layer] = maps

    def copy(self) -> LensAttention:
        """The same maps in a record that a run still going on does not add to."""
        copied = LensAttention(self.plan)
        copied._of_layer.update(self._of_layer)
        return copied

    def _default(self, layer: int | None) -> int:
        if layer is None and not self._of_layer:
            raise ValueError("layer: no layer is painted yet")
        return self.layers[-1] if layer is None else layer

    def __getitem__(self, layer: int) -> AttentionMaps:
        if layer not in self._of_layer:
            there = ", ".join(map(str, self.layers)) or "none yet"
            raise ValueError(f"layer: {layer!r} has no attention maps; there are: {there}")
        return self._of_layer[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self._of_layer)

    def __contains__(self, layer: object) -> bool:
        return layer in self._of_layer

    def __repr__(self) -> str:
        return f"LensAttention({' '.join(self.words)!r}, layers {', '.join(map(str, self.layers)) or 'none yet'})"
