"""Attention maps as a record: `AttentionMaps` of one image, `LensAttention` of all layers of a lens run. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..tokens import PromptPart, read_words, word_text
from ..words import positions_of
from .mask import read_mask
from .plan import Plan
from .resample import enlarged, shrunk

Blocks = str | Iterable[str]


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """The maps of each block, summed over some forwards of the denoiser.

    Attributes
    ----------
    maps : mapping of block name → float32 array (map, height, width)
        Each the mean over the block's layers and heads: first start token, words and end token, then all padding
        together, then all of a template together (if there is some), then each of the plan's `rest_names`.
    forwards : int
        How many forwards are summed.
    """

    maps: Mapping[str, np.ndarray]
    forwards: int


class _Planned:
    """What the plan alone tells."""

    plan: Plan

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the prompt in order; a word that occurs twice is here twice."""
        return tuple(word_text(word) for word in read_words(self.plan.tokens))

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the denoiser's blocks that have maps, as diffusers names them."""
        return tuple(block.name for block in self.plan.blocks)


@dataclass(frozen=True, eq=False)
class AttentionMaps(_Planned):
    """The attention maps of one image: where the denoiser attends to each token of the prompt.

    Attributes
    ----------
    plan : Plan
        What was kept: tokens, aggregator, blocks and their resolutions, steps.
    total : BlockMaps
        Of all denoising steps together.
    by_step : mapping of step → BlockMaps
        Of each step that was requested; 0 is the first step.
    """

    plan: Plan
    total: BlockMaps
    by_step: Mapping[int, BlockMaps] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have their own maps."""
        return tuple(self.by_step)

    @property
    def rest_names(self) -> tuple[str, ...]:
        """What else is in the softmax of joint attention: "image", and in SD3 "other text". Empty for a U-Net."""
        return self.plan.rest_names

    @property
    def nbytes(self) -> int:
        """The size of the maps in bytes."""
        return sum(maps.nbytes for one in (self.total, *self.by_step.values()) for maps in one.maps.values())

    def heatmap(
        self, word: int | str | PromptPart, *, block: Blocks | None = None, step: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Compute the heat map of a word.

        Parameters
        ----------
        word : str, int or PromptPart
            A word of the prompt, or several consecutive words: the mean of the maps of their tokens. An int is the
            position of one token; 0 is the start token (of CLIP). `PromptPart.PADDING`: the sum over all padding. The
            position of a template's token: the sum over the template.
        block : str or iterable of str, optional
            One block, at its own resolution; or the mean of several, at the latents' resolution. Default: all blocks.
        step : int, optional
            One of `steps`. Default: all steps together.

        Returns
        -------
        float32 array (height, width)
            "mean": the share of each pixel's attention that goes to the word, 0..1, as a mean over heads, layers and
            steps. In joint attention (SD3, FLUX) the image attends to itself too, see `rest`. "daam": DAAM's map, ≥ 0,
            summed over the steps (of one step, if `step` is given).

        Raises
        ------
        ValueError, TypeError
            For a word that the prompt does not have exactly once, an unknown block, or a step that was not kept.
        """
        positions = positions_of(word, self.plan.tokens)
        rows = self.plan.rows_of(positions)
        return self._averaged(lambda maps: maps[rows].mean(0, dtype=np.float64), block, step)

    def token_heatmaps(self, *, block: Blocks | None = None, step: int | None = None) -> npt.NDArray[np.float32]:
        """Compute the heat maps of all tokens, padding and template each together; `block`, `step` as for `heatmap`.

        Returns
        -------
        float32 array (map, height, width)
            Start token, words and end token in the order of the prompt; then padding and template, if there are some.
        """
        rows = self.plan.num_token_maps
        return self._averaged(lambda maps: maps[:rows].astype(np.float64), block, step)

    def rest(self, name: str, *, block: Blocks | None = None, step: int | None = None) -> npt.NDArray[np.float32]:
        """Compute the share of each pixel's attention that goes to something else; with all tokens it sums to 1.

        Parameters
        ----------
        name : str
            One of `rest_names`. "image": the pixels of the image itself. "other text": in SD3, the tokens of the text
            encoders that these tokens do not belong to.
        block, step
            As for `heatmap`.

        Returns
        -------
        float32 array (height, width)

        Raises
        ------
        ValueError
            If there is no such name, block or step.
        """
        if name not in self.rest_names:
            known = ", ".join(map(repr, self.rest_names)) or "none: cross-attention has the tokens only"
            raise ValueError(f"name: there is no rest {name!r}; there are: {known}")
        row = self.plan.num_maps - len(self.rest_names) + self.rest_names.index(name)
        return self._averaged(lambda maps: maps[row].astype(np.float64), block, step)

    def mass_in_mask(
        self,
        mask: npt.ArrayLike,
        word: int | str | PromptPart,
        *,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> float:
        """Compute the part of a word's attention that falls inside a mask, such as whether `xon` leaks out of its dog.

        Parameters
        ----------
        mask : array (height, width) of bool, or of numbers 0..1
            In the size of the image or of its latents. Its mean over each pixel of the map counts.
        word, block, step
            As for `heatmap`.

        Returns
        -------
        float
            0..1; compare it with `mask.mean()`, which a constant map gives. NaN for a map that is 0 everywhere.

        Raises
        ------
        ValueError, TypeError
            As for `heatmap`, and for a mask of another size or with other values.
        """
        inside = read_mask(mask, self.plan)
        heat = self.heatmap(word, block=block, step=step).astype(np.float64)
        total = heat.sum()
        return float((heat * shrunk(inside, heat.shape)).sum() / total) if total else float("nan")

    def _averaged(
        self, select: Callable[[np.ndarray], np.ndarray], block: Blocks | None, step: int | None
    ) -> npt.NDArray[np.float32]:
        """The mean over the requested blocks of what `select` takes from a block's maps."""
        names, divisor = self._requested_blocks(block), self._divisor(step)
        summed = self.total if step is None else self.by_step[step]
        weights = {each.name: each.weight for each in self.plan.blocks if each.name in names}
        size = None if isinstance(block, str) else self.plan.grid
        found = np.zeros(())
        for name, weight in weights.items():
            selected = select(summed.maps[name])
            found = found + weight * (selected if size is None else enlarged(selected, size))
        return (found / (sum(weights.values()) * divisor)).astype(np.float32)

    def _requested_blocks(self, block: Blocks | None) -> set[str]:
        names = self.blocks if block is None else (block,) if isinstance(block, str) else tuple(block)
        if not names:
            raise ValueError(f"block: empty; there are {', '.join(self.blocks)}")
        for name in names:
            if name not in self.blocks:
                raise ValueError(f"block: there is no {name!r}; there are {', '.join(self.blocks)}")
        return set(names)

    def _divisor(self, step: int | None) -> int:
        """The number of summed forwards, or 1 for DAAM, whose maps are sums."""
        if step is not None and step not in self.by_step:
            kept = f"those kept are {', '.join(map(str, self.steps))}" if self.steps else "none was kept by itself"
            raise ValueError(f"step: {step} was not kept; {kept}. AttentionOptions(steps=[...]) keeps steps")
        if self.plan.aggregator == "daam":
            return 1
        return (self.total if step is None else self.by_step[step]).forwards

    def __repr__(self) -> str:
        return f"AttentionMaps({' '.join(self.words)!r}, {len(self.blocks)} blocks, {len(self.steps)} steps kept)"


class LensAttention(_Planned):
    """The attention maps of a lens run: `attention[7]` are the `AttentionMaps` of the image of layer 7.

    A layer is in it as soon as its image is finished.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._of_layer: dict[int, AttentionMaps] = {}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that have maps, in ascending order."""
        return tuple(sorted(self._of_layer))

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps that have their own maps."""
        return self.plan.steps

    def heatmap(
        self,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Compute the heat map of a word in the image of `layer`; default: the highest layer that has maps.

        Otherwise as `AttentionMaps.heatmap`.
        """
        return self[self._default(layer)].heatmap(word, block=block, step=step)

    def mass_in_mask(
        self,
        mask: npt.ArrayLike,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: Blocks | None = None,
        step: int | None = None,
    ) -> float:
        """Compute the part of a word's attention inside a mask; see `heatmap` and `AttentionMaps.mass_in_mask`."""
        return self[self._default(layer)].mass_in_mask(mask, word, block=block, step=step)

    def add(self, layer: int, maps: AttentionMaps) -> None:
        """Store the maps of a layer's image."""
        self._of_layer[layer] = maps

    def copy(self) -> LensAttention:
        """Copy the record, so that a run in progress does not add layers to the copy. The maps are shared."""
        copied = LensAttention(self.plan)
        copied._of_layer.update(self._of_layer)
        return copied

    def _default(self, layer: int | None) -> int:
        if layer is None and not self._of_layer:
            raise ValueError("layer: no layer is painted yet")
        return self.layers[-1] if layer is None else layer

    def __getitem__(self, layer: int) -> AttentionMaps:
        if layer not in self._of_layer:
            known = ", ".join(map(str, self.layers)) or "none yet"
            raise ValueError(f"layer: {layer!r} has no attention maps; there are: {known}")
        return self._of_layer[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self._of_layer)

    def __contains__(self, layer: object) -> bool:
        return layer in self._of_layer

    def __repr__(self) -> str:
        return f"LensAttention({' '.join(self.words)!r}, layers {', '.join(map(str, self.layers)) or 'none yet'})"
