"""What is kept of the attention and how many bytes that takes, known before anything is computed. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..tokens import Token
from .options import Aggregator, AttentionOptions

_SMALLEST = 4  # pixels a side that a map keeps when it is pooled


@dataclass(frozen=True)
class Block:
    """One block's maps, of a U-Net or a transformer.

    Attributes
    ----------
    name : such as "mid_block" or "transformer_blocks.0"
    height, width : of a map before it is pooled
    weight : how many maps are averaged in it: its layers ("mean"), or the heads of its layers ("daam")
    halved, step_halved : how many times the map of all steps, and those of single steps, are halved to fit the budget
    """

    name: str
    height: int
    width: int
    weight: int
    halved: int = 0
    step_halved: int = 0

    def area(self, halved: int) -> int:
        """Pixels of a map halved so often."""
        return (self.height >> halved) * (self.width >> halved)

    def can_halve(self, halved: int) -> bool:
        """Whether a map halved so often can be halved once more without a rest."""
        height, width = self.height >> halved, self.width >> halved
        return height % 2 == width % 2 == 0 and min(height, width) >= 2 * _SMALLEST


@dataclass(frozen=True)
class Plan:
    """What is kept of each picture of one prompt.

    Attributes
    ----------
    tokens : the prompt's, padding included: one for each of the text keys
    aggregator : "mean" or "daam"
    height, width : of the picture, in pixels
    grid : (height, width) of the latents
    blocks : the denoiser's blocks, in the order they work in
    steps : the denoising steps kept each by itself
    pictures : how many pictures are captured
    others : what is looked at beside these tokens, each with one map: with joint attention the "image" itself
    """

    tokens: tuple[Token, ...]
    aggregator: Aggregator
    height: int
    width: int
    grid: tuple[int, int]
    blocks: tuple[Block, ...]
    steps: tuple[int, ...]
    pictures: int
    others: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """How many tokens have a map of their own: start, words and end."""
        return sum(token.kind != "pad" for token in self.tokens)

    @property
    def has_padding(self) -> bool:
        """Whether there is padding; its tokens have one map together."""
        return self.places < len(self.tokens)

    @property
    def rows(self) -> int:
        """How many maps a block has: one for each place, then the padding's where there is some, then the others'."""
        return self.places + self.has_padding + len(self.others)

    @property
    def bytes(self) -> int:
        """What the float32 maps of all pictures take together."""
        pixels = sum(
            block.area(block.halved) + len(self.steps) * block.area(block.step_halved) for block in self.blocks
        )
        return 4 * self.pictures * self.rows * pixels

    @property
    def note(self) -> str:
        """What a user is told of maps that are kept smaller than they could be; "" where none is."""
        parts = [("single steps", "step_halved"), ("all steps together", "halved")]
        told = []
        for what, name in parts:
            pooled = [block.name for block in self.blocks if getattr(block, name)]
            if pooled:
                told.append(f"of {what} in {', '.join(pooled)}")
        return f"attention: to fit the budget, maps {' and '.join(told)} are kept at a lower resolution" if told else ""


class Layer(Protocol):
    """What a plan asks of an attention layer."""

    @property
    def block(self) -> str:
        """The block it is in."""

    @property
    def heads(self) -> int:
        """How many heads it has."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The resolution there, given that of the latents."""


def plan_capture(
    layers: Sequence[Layer],
    tokens: Sequence[Token],
    options: AttentionOptions,
    *,
    grid: tuple[int, int],
    factor: int,
    steps: int,
    pictures: int,
    others: Sequence[str] = (),
) -> Plan:
    """Plan what is kept of `pictures` pictures with latents of `grid`, each drawn in `steps` steps.

    `factor` is the autoencoder's: pixels per latent. `others` are looked at beside the tokens.

    Raises
    ------
    ValueError
        If a step is outside the run, or the budget is too small even for maps of 4 pixels a side.
    """
    blocks: dict[str, Block] = {}
    for layer in layers:
        daam = options.aggregator == "daam"
        height, width = grid if daam else layer.size(*grid)
        block = blocks.get(layer.block, Block(layer.block, height, width, 0))
        blocks[layer.block] = replace(block, weight=block.weight + (layer.heads if daam else 1))
    plan = Plan(
        tokens=tuple(tokens),
        aggregator=options.aggregator,
        height=grid[0] * factor,
        width=grid[1] * factor,
        grid=grid,
        blocks=tuple(blocks.values()),
        steps=options.kept_steps(steps),
        pictures=pictures,
        others=tuple(others),
    )
    return _fitted(plan, options.budget_mb)


def _fitted(plan: Plan, budget_mb: float) -> Plan:
    """Halve the largest maps, those of single steps first, until the budget holds."""
    wanted = plan.bytes
    while plan.bytes > budget_mb * 1e6:
        halvable = _largest(plan.blocks, "step_halved") if plan.steps else None
        field = "step_halved" if halvable else "halved"
        halvable = halvable or _largest(plan.blocks, "halved")
        if halvable is None:
            kept = f" and {len(plan.steps)} steps" if plan.steps else ""
            raise ValueError(
                f"attention: the maps of {plan.pictures} pictures{kept} would take {wanted / 1e6:.3g} MB, and "
                f"{plan.bytes / 1e6:.3g} MB at the lowest resolution; the budget is {budget_mb:g} MB. "
                "What helps: fewer layers, fewer steps, or AttentionOptions(budget_mb=...)"
            )
        smaller = replace(halvable, **{field: getattr(halvable, field) + 1})
        plan = replace(plan, blocks=tuple(smaller if block is halvable else block for block in plan.blocks))
    return plan


def _largest(blocks: Iterable[Block], field: str) -> Block | None:
    """The block with the largest map that can still be halved; of several, the one that was halved least."""

    def size(block: Block) -> tuple[int, int]:
        halved = getattr(block, field)
        return block.area(halved), -halved

    return max((block for block in blocks if block.can_halve(getattr(block, field))), key=size, default=None)
