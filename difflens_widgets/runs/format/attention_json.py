"""Attention maps in a .lens file: what run.json says of them, and how their tensors are named and shaped.

``attention.safetensors`` (float32, since version 1.2) has for each painted layer and U-Net block a tensor
``LAYER/BLOCK`` (token, height, width), and where single steps were kept ``LAYER/BLOCK/steps`` (step, token, height,
width). The tokens are the run's; the shapes follow from the plan.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from ..maps.maps import AttentionMaps, LensAttention, Summed
from ..maps.options import Aggregator
from ..maps.plan import Block, Plan
from ..tokens import Token
from .json_fields import Fields
from .json_items import ENTRY, MAX_ENTRIES, MAX_STEP, Shape, check_array_bytes, keyed, picture_size

ATTENTION = "attention.safetensors"
_BLOCK_NAME = re.compile(r"[a-z_]{1,40}(\.[0-9]{1,4})?")
_MAX_BLOCKS = 256
_MAX_GRID = 2_048  # latents a side: 8 pixels each, as far as pictures go
_MAX_HALVED = 11
_MAX_COUNT = 1_000_000  # heads, forwards, pictures


@dataclass(frozen=True)
class LayerForwards:
    """How many forwards of the denoiser are summed in one layer's maps: in all steps together, and in single steps."""

    total: int
    by_step: Mapping[int, int]


@dataclass(frozen=True)
class AttentionRecord:
    """A run's attention without the maps themselves."""

    plan: Plan
    layers: Mapping[int, LayerForwards]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor in the file, by its name."""
        found: dict[str, Shape] = {}
        for layer, forwards in self.layers.items():
            for block in self.plan.blocks:
                found[f"{layer}/{block.name}"] = _shape(self.plan, block, block.halved)
                if forwards.by_step:
                    of_step = _shape(self.plan, block, block.step_halved)
                    found[f"{layer}/{block.name}/steps"] = (len(forwards.by_step), *of_step)
        return found

    def filled(self, tensors: Mapping[str, np.ndarray]) -> LensAttention:
        """The record with its maps, which have these `shapes`."""
        attention = LensAttention(self.plan)
        for layer, forwards in self.layers.items():
            total = {block: tensors[f"{layer}/{block}"] for block in attention.blocks}
            by_step = {
                step: Summed({block: tensors[f"{layer}/{block}/steps"][index] for block in attention.blocks}, count)
                for index, (step, count) in enumerate(forwards.by_step.items())
            }
            attention.add(layer, AttentionMaps(self.plan, Summed(total, forwards.total), by_step))
        return attention


def to_plain(attention: LensAttention, tokens: Sequence[Token]) -> dict[str, Any]:
    """Describe the attention of a run of these `tokens`, as JSON can keep it.

    Raises
    ------
    ValueError
        If it is of another prompt, or the maps are not what their plan says.
    """
    plan = attention.plan
    if plan.tokens != tuple(tokens):
        raise ValueError("attention: its tokens are not those of the run")
    for layer in attention:
        _check_maps(layer, attention[layer], plan)
    return {
        "aggregator": plan.aggregator,
        "height": operator.index(plan.height),
        "width": operator.index(plan.width),
        "grid": [operator.index(side) for side in plan.grid],
        "blocks": [
            {
                "name": block.name,
                "height": operator.index(block.height),
                "width": operator.index(block.width),
                "weight": operator.index(block.weight),
                "halved": operator.index(block.halved),
                "step_halved": operator.index(block.step_halved),
            }
            for block in plan.blocks
        ],
        "steps": [operator.index(step) for step in plan.steps],
        "pictures": operator.index(plan.pictures),
        "maps": [
            {
                "layer": operator.index(layer),
                "entry": ATTENTION,
                "forwards": operator.index(attention[layer].total.forwards),
                "steps": [
                    {"step": operator.index(step), "forwards": operator.index(summed.forwards)}
                    for step, summed in attention[layer].by_step.items()
                ],
            }
            for layer in attention
        ],
    }


def tensors_of(attention: LensAttention) -> dict[str, np.ndarray]:
    """All maps, by the names they have in the file."""
    tensors: dict[str, np.ndarray] = {}
    for layer in attention:
        maps = attention[layer]
        for block in attention.blocks:
            tensors[f"{layer}/{block}"] = np.ascontiguousarray(maps.total.maps[block])
            if maps.by_step:
                tensors[f"{layer}/{block}/steps"] = np.stack([of_step.maps[block] for of_step in maps.by_step.values()])
    return tensors


def read_attention(item: Fields, tokens: tuple[Token, ...], layers: tuple[int, ...]) -> AttentionRecord:
    """Read what `to_plain` wrote for a run of these tokens and layers, believing nothing.

    Raises
    ------
    ValueError
        If a field is missing, of the wrong type or out of its range, or the maps would not fit the prompt: names it.
    """
    _check_tokens(tokens)
    width, height = picture_size(item)
    grid = item.integers("grid", 1, _MAX_GRID, at_most=2)
    if len(grid) != 2 or height % grid[0] or width % grid[1]:
        raise ValueError(f"{ENTRY}: attention's 'grid' is {grid}, which no picture of {width} × {height} pixels has")
    steps = item.integers("steps", 0, MAX_STEP, at_most=MAX_ENTRIES)
    if sorted(set(steps)) != steps:
        raise ValueError(f"{ENTRY}: attention's 'steps' are not in order, or name a step twice")
    plan = Plan(
        tokens=tokens,
        aggregator=item.choice("aggregator", get_args(Aggregator)),  # type: ignore[arg-type]  # one of them
        height=height,
        width=width,
        grid=(grid[0], grid[1]),
        blocks=_read_blocks(item, (grid[0], grid[1])),
        steps=tuple(steps),
        pictures=item.integer("pictures", 1, _MAX_COUNT),
    )
    maps = keyed(item, "maps", ("layer",), lambda layer: ATTENTION, layers)
    if 2 * len(maps) * len(plan.blocks) > MAX_ENTRIES:
        raise ValueError(f"{ENTRY}: attention has {len(plan.blocks)} blocks of {len(maps)} layers, which are too many")
    record = AttentionRecord(plan, {key[0]: _read_forwards(of_layer, plan.steps) for key, of_layer in maps.items()})
    check_array_bytes("attention", sum(4 * math.prod(shape) for shape in record.shapes.values()))
    return record


def _shape(plan: Plan, block: Block, halved: int) -> Shape:
    return plan.rows, block.height >> halved, block.width >> halved


def _check_maps(layer: int, maps: AttentionMaps, plan: Plan) -> None:
    if maps.plan != plan:
        raise ValueError(f"attention: the maps of layer {layer} were kept by another plan than the run's")
    for summed, field in ((maps.total, "halved"), *((of_step, "step_halved") for of_step in maps.by_step.values())):
        if summed.maps.keys() != {block.name for block in plan.blocks}:
            raise ValueError(
                f"attention: layer {layer} has maps of the blocks {', '.join(summed.maps)}, not as planned"
            )
        for block in plan.blocks:
            found, expected = summed.maps[block.name], _shape(plan, block, getattr(block, field))
            if found.dtype != np.float32 or found.shape != expected:
                raise ValueError(
                    f"attention: the maps of layer {layer} in {block.name} are {found.dtype} of shape {found.shape}, "
                    f"float32 of shape {expected} was expected"
                )


def _check_tokens(tokens: Sequence[Token]) -> None:
    """A word's maps are found by its place, so places must count on, and padding comes last."""
    kinds = [token.kind == "pad" for token in tokens]
    if not tokens or kinds != sorted(kinds) or [token.index for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"{ENTRY}: 'tokens' are not numbered 0, 1, ... with the padding last, as attention maps need")


def _read_blocks(item: Fields, grid: tuple[int, int]) -> tuple[Block, ...]:
    blocks: dict[str, Block] = {}
    for of_block in item.items("blocks", _MAX_BLOCKS):
        name = of_block.text("name")
        if not _BLOCK_NAME.fullmatch(name) or name in blocks:
            raise ValueError(
                f"{ENTRY}: attention's 'blocks' have {name[:80]!r}, which is no block's name or there twice"
            )
        blocks[name] = block = Block(
            name,
            of_block.integer("height", 1, grid[0]),
            of_block.integer("width", 1, grid[1]),
            of_block.integer("weight", 1, _MAX_COUNT),
            of_block.integer("halved", 0, _MAX_HALVED),
            of_block.integer("step_halved", 0, _MAX_HALVED),
        )
        most = 2 ** max(block.halved, block.step_halved)
        if block.height % most or block.width % most:
            raise ValueError(f"{ENTRY}: a map of {block.height} × {block.width} in {name} cannot be 1/{most} as large")
    if not blocks:
        raise ValueError(f"{ENTRY}: attention's 'blocks' are empty")
    return tuple(blocks.values())


def _read_forwards(item: Fields, steps: tuple[int, ...]) -> LayerForwards:
    planned, by_step = set(steps), dict[int, int]()
    for of_step in item.items("steps", len(steps)):
        step = of_step.integer("step", 0, MAX_STEP)
        if step not in planned or step in by_step:
            raise ValueError(
                f"{ENTRY}: attention's 'maps' have step {step}, which was not to be kept or is there twice"
            )
        by_step[step] = of_step.integer("forwards", 1, _MAX_COUNT)
    return LayerForwards(item.integer("forwards", 1, _MAX_COUNT), by_step)
