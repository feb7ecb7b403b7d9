"""Plans which attention maps are kept, and how many bytes they take, before anything is computed. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..tokens import Kind, Token
from .options import Aggregator, AttentionOptions

_MIN_SIDE = 4  # pixels: no map is pooled to less
_MID_BLOCK = "mid_block"  # diffusers' name in every U-Net


@dataclass(frozen=True)
class Block:
    """What is kept of one block of a denoiser.

    Attributes
    ----------
    name : str
        Such as "mid_block" or "transformer_blocks.0".
    height, width : int
        Of a map before it is pooled.
    weight : int
        How many maps are averaged in it: those of its layers ("mean"), or of all heads of its layers ("daam").
    pool_factor : int
        The maps of all steps together are averaged over pool_factor × pool_factor pixels: 1, 2, 4, ...
    step_pool_factor : int
        The same for the maps of single steps.
    """

    name: str
    height: int
    width: int
    weight: int
    pool_factor: int = 1
    step_pool_factor: int = 1

    def size(self, pool_factor: int) -> tuple[int, int]:
        """Give (height, width) of a map that is pooled by `pool_factor`."""
        return self.height // pool_factor, self.width // pool_factor

    def area(self, pool_factor: int) -> int:
        """Count the pixels of a map that is pooled by `pool_factor`."""
        height, width = self.size(pool_factor)
        return height * width

    def can_pool(self, pool_factor: int) -> bool:
        """Tell whether a map that is pooled by `pool_factor` can be pooled by 2 once more, without a remainder."""
        height, width = self.size(pool_factor)
        return height % 2 == width % 2 == 0 and min(height, width) >= 2 * _MIN_SIDE


@dataclass(frozen=True)
class Plan:
    """What is kept of each image of one prompt.

    Attributes
    ----------
    tokens : tuple of Token
        The prompt's, template and padding included: one for each position of the text encoder.
    aggregator : "mean" or "daam"
    height, width : int
        Of the image, in pixels.
    grid : (int, int)
        (height, width) of the latents.
    blocks : tuple of Block
        In the order in which they run.
    steps : tuple of int
        The denoising steps whose maps are kept one by one.
    pictures : int
        How many images are captured.
    rest_names : tuple of str
        What else is in the softmax beside the tokens, each with one map: in joint attention "image", the image itself.
    """

    tokens: tuple[Token, ...]
    aggregator: Aggregator
    height: int
    width: int
    grid: tuple[int, int]
    blocks: tuple[Block, ...]
    steps: tuple[int, ...]
    pictures: int
    rest_names: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[int, ...]:
        """The positions of the tokens that have their own map: start token, words and end token."""
        return tuple(token.index for token in self.tokens if token.kind not in ("pad", "template"))

    @property
    def num_positions(self) -> int:
        """How many tokens have their own map."""
        return len(self.own)

    @property
    def padding(self) -> tuple[int, ...]:
        """The positions of the padding. All its tokens have one map together."""
        return self._positions_of("pad")

    @property
    def template(self) -> tuple[int, ...]:
        """The positions of the template. All its tokens have one map together."""
        return self._positions_of("template")

    @property
    def has_padding(self) -> bool:
        """Whether there is padding."""
        return bool(self.padding)

    @property
    def num_token_maps(self) -> int:
        """How many maps the tokens have: one for each of `own`, one of the padding, one of the template."""
        return self.num_positions + bool(self.padding) + bool(self.template)

    @property
    def num_maps(self) -> int:
        """How many maps a block has: those of the tokens, then one for each rest."""
        return self.num_token_maps + len(self.rest_names)

    def rows_of(self, positions: Iterable[int]) -> list[int]:
        """The numbers of the maps of some tokens, each once."""
        own = {position: row for row, position in enumerate(self.own)}
        together = dict.fromkeys(self.padding, len(own)) | dict.fromkeys(self.template, len(own) + self.has_padding)
        return list(dict.fromkeys((own | together)[position] for position in positions))

    def _positions_of(self, kind: Kind) -> tuple[int, ...]:
        return tuple(token.index for token in self.tokens if token.kind == kind)

    @property
    def bytes(self) -> int:
        """The size of the float32 maps of all images."""
        pixels = sum(
            block.area(block.pool_factor) + len(self.steps) * block.area(block.step_pool_factor)
            for block in self.blocks
        )
        return 4 * self.pictures * self.num_maps * pixels

    @property
    def note(self) -> str:
        """A message for the user about maps that are pooled to fit the budget; "" where none is."""
        parts = [("single steps", "step_pool_factor"), ("all steps together", "pool_factor")]
        messages = []
        for what, field in parts:
            pooled = [block.name for block in self.blocks if getattr(block, field) > 1]
            if pooled:
                messages.append(f"of {what} in {', '.join(pooled)}")
        if not messages:
            return ""
        return f"attention: to fit the budget, maps {' and '.join(messages)} are kept at a lower resolution"


class Layer(Protocol):
    """What a plan must know about an attention layer."""

    @property
    def block(self) -> str:
        """The block that it belongs to."""

    @property
    def heads(self) -> int:
        """How many heads it has."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Give this layer's (height, width), for latents of `height` × `width`."""


def plan_capture(
    layers: Sequence[Layer],
    tokens: Sequence[Token],
    options: AttentionOptions,
    *,
    grid: tuple[int, int],
    vae_scale_factor: int,
    steps: int,
    pictures: int,
    rest_names: Sequence[str] = (),
) -> Plan:
    """Plan what is kept of some images of one prompt.

    Parameters
    ----------
    layers : sequence of Layer
        The denoiser's attention layers, in the order in which they run.
    tokens : sequence of Token
        The prompt's, padding included.
    options : AttentionOptions
    grid : (int, int)
        (height, width) of the latents.
    vae_scale_factor : int
        Pixels per latent.
    steps : int
        The number of denoising steps.
    pictures : int
        How many images are captured.
    rest_names : sequence of str
        What else is in the softmax beside the tokens.

    Raises
    ------
    ValueError
        If a step is outside the run, if the budget is too small even for maps of 4 × 4 pixels, or if only the middle
        block has attention to the text and the options leave it out.
    """
    blocks: dict[str, Block] = {}
    for layer in layers:
        if layer.block == _MID_BLOCK and not options.captures_mid_block:
            continue
        daam = options.aggregator == "daam"
        height, width = grid if daam else layer.size(*grid)
        block = blocks.get(layer.block, Block(layer.block, height, width, 0))
        blocks[layer.block] = replace(block, weight=block.weight + (layer.heads if daam else 1))
    if not blocks:
        raise ValueError(
            "attention: only the U-Net's middle block attends to the text, and it is left out; "
            f"what helps: AttentionOptions({options.aggregator!r}, mid_block=True)"
        )
    plan = Plan(
        tokens=tuple(tokens),
        aggregator=options.aggregator,
        height=grid[0] * vae_scale_factor,
        width=grid[1] * vae_scale_factor,
        grid=grid,
        blocks=tuple(blocks.values()),
        steps=options.kept_steps(steps),
        pictures=pictures,
        rest_names=tuple(rest_names),
    )
    return _fitted(plan, options.budget_mb)


def _fitted(plan: Plan, budget_mb: float) -> Plan:
    """Pool the largest maps, those of single steps first, until the plan fits the budget."""
    requested = plan.bytes
    while plan.bytes > budget_mb * 1e6:
        largest = _largest(plan.blocks, "step_pool_factor") if plan.steps else None
        field = "step_pool_factor" if largest else "pool_factor"
        largest = largest or _largest(plan.blocks, "pool_factor")
        if largest is None:
            kept = f" and {len(plan.steps)} steps" if plan.steps else ""
            raise ValueError(
                f"attention: the maps of {plan.pictures} pictures{kept} would take {requested / 1e6:.3g} MB, and "
                f"{plan.bytes / 1e6:.3g} MB at the lowest resolution; the budget is {budget_mb:g} MB. "
                "What helps: fewer layers, fewer steps, or AttentionOptions(budget_mb=...)"
            )
        pooled = replace(largest, **{field: 2 * getattr(largest, field)})
        plan = replace(plan, blocks=tuple(pooled if block is largest else block for block in plan.blocks))
    return plan


def _largest(blocks: Iterable[Block], field: str) -> Block | None:
    """The block with the largest map that can be pooled once more; among equal ones, the least pooled."""

    def rank(block: Block) -> tuple[int, int]:
        factor = getattr(block, field)
        return block.area(factor), -factor

    return max((block for block in blocks if block.can_pool(getattr(block, field))), key=rank, default=None)
