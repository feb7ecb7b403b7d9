"""Attention maps in a .lens file: their description in run.json, and the names and shapes of their tensors.

``attention.safetensors`` (float32, since version 1.2) has a tensor ``LAYER/BLOCK`` (map, height, width) for each
finished layer and each block of the denoiser. Where single steps were kept, it also has ``LAYER/BLOCK/steps``
(step, map, height, width). The tokens are the run's; the shapes follow from the plan.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from ..maps.maps import AttentionMaps, BlockMaps, LensAttention
from ..maps.options import Aggregator
from ..maps.plan import Block, Plan
from ..tokens import Token
from .json_fields import Fields
from .json_items import ENTRY, MAX_ENTRIES, MAX_STEP, Shape, check_array_bytes, keyed, picture_size

ATTENTION = "attention.safetensors"
_BLOCK_NAME = re.compile(r"[a-z_]{1,40}(\.[0-9]{1,4})?")
_MAX_BLOCKS = 256
_REST_NAME = re.compile(r"[a-z ]{1,40}")
_MAX_REST = 8
_MAX_GRID = 2_048  # height or width of the latents: 8 pixels each, as much as images may have
_POOL_FACTORS = tuple(2**exponent for exponent in range(12))
_MAX_COUNT = 1_000_000  # heads, forwards, images


@dataclass(frozen=True)
class LayerForwards:
    """How many forwards of the denoiser are summed in one layer's maps: of all steps together, and of single steps."""

    total: int
    by_step: Mapping[int, int]


@dataclass(frozen=True)
class AttentionRecord:
    """The description of a run's attention, without the maps."""

    plan: Plan
    layers: Mapping[int, LayerForwards]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each tensor in the file, by its name."""
        found: dict[str, Shape] = {}
        for layer, forwards in self.layers.items():
            for block in self.plan.blocks:
                found[f"{layer}/{block.name}"] = _shape(self.plan, block, block.pool_factor)
                if forwards.by_step:
                    step_shape = _shape(self.plan, block, block.step_pool_factor)
                    found[f"{layer}/{block.name}/steps"] = (len(forwards.by_step), *step_shape)
        return found

    def filled(self, tensors: Mapping[str, np.ndarray]) -> LensAttention:
        """Make the run's attention, of tensors that have these `shapes`."""
        attention = LensAttention(self.plan)
        for layer, forwards in self.layers.items():
            total = {block: tensors[f"{layer}/{block}"] for block in attention.blocks}
            by_step = {
                step: BlockMaps({block: tensors[f"{layer}/{block}/steps"][index] for block in attention.blocks}, count)
                for index, (step, count) in enumerate(forwards.by_step.items())
            }
            attention.add(layer, AttentionMaps(self.plan, BlockMaps(total, forwards.total), by_step))
        return attention


def to_plain(attention: LensAttention, tokens: Sequence[Token]) -> dict[str, Any]:
    """Describe the attention of a run of these `tokens` in values that JSON has.

    Raises
    ------
    ValueError
        If the attention is of another prompt, or if the maps are not as their plan says.
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
                "pool_factor": operator.index(block.pool_factor),
                "step_pool_factor": operator.index(block.step_pool_factor),
            }
            for block in plan.blocks
        ],
        "steps": [operator.index(step) for step in plan.steps],
        "pictures": operator.index(plan.pictures),
        "rest": [{"name": name} for name in plan.rest_names],
        "maps": [
            {
                "layer": operator.index(layer),
                "entry": ATTENTION,
                "forwards": operator.index(attention[layer].total.forwards),
                "steps": [
                    {"step": operator.index(step), "forwards": operator.index(of_step.forwards)}
                    for step, of_step in attention[layer].by_step.items()
                ],
            }
            for layer in attention
        ],
    }


def tensors_of(attention: LensAttention) -> dict[str, np.ndarray]:
    """Collect all maps, by their names in the file."""
    tensors: dict[str, np.ndarray] = {}
    for layer in attention:
        maps = attention[layer]
        for block in attention.blocks:
            tensors[f"{layer}/{block}"] = np.ascontiguousarray(maps.total.maps[block])
            if maps.by_step:
                tensors[f"{layer}/{block}/steps"] = np.stack([of_step.maps[block] for of_step in maps.by_step.values()])
    return tensors


def read_attention(item: Fields, tokens: tuple[Token, ...], layers: tuple[int, ...]) -> AttentionRecord:
    """Read what `to_plain` wrote for a run of these tokens and layers, and check every value.

    Raises
    ------
    ValueError
        If a field is missing, has the wrong type or is out of its range, or if the maps would not fit the prompt.
        The message names the field.
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
        rest_names=_read_rest_names(item),
    )
    maps = keyed(item, "maps", ("layer",), lambda layer: ATTENTION, layers)
    if 2 * len(maps) * len(plan.blocks) > MAX_ENTRIES:
        raise ValueError(f"{ENTRY}: attention has {len(plan.blocks)} blocks of {len(maps)} layers, which are too many")
    record = AttentionRecord(plan, {key[0]: _read_forwards(of_layer, plan.steps) for key, of_layer in maps.items()})
    check_array_bytes("attention", sum(4 * math.prod(shape) for shape in record.shapes.values()))
    return record


def upgrade_attention(attention: Any) -> Any:
    """Rewrite the description of a file of version 1.2 as version 2.0 has it. Nothing is checked here."""
    if not isinstance(attention, dict):
        return attention
    new = {**attention, "rest": []}
    if isinstance(blocks := attention.get("blocks"), list):
        new["blocks"] = [_upgrade_block(block) for block in blocks]
    return new


def _upgrade_block(block: Any) -> Any:
    """Version 1.2 had the exponents "halved" and "step_halved" in place of the pool factors."""
    if not isinstance(block, dict):
        return block
    names = {"halved": "pool_factor", "step_halved": "step_pool_factor"}
    return {names.get(name, name): _power(value) if name in names else value for name, value in block.items()}


def _power(exponent: Any) -> Any:
    """2 to the power of `exponent`; what is no possible exponent stays no possible factor."""
    if type(exponent) is not int:
        return exponent
    return 2**exponent if 0 <= exponent < len(_POOL_FACTORS) else -1


def _shape(plan: Plan, block: Block, pool_factor: int) -> Shape:
    return plan.num_maps, *block.size(pool_factor)


def _check_maps(layer: int, maps: AttentionMaps, plan: Plan) -> None:
    if maps.plan != plan:
        raise ValueError(f"attention: the maps of layer {layer} were kept by another plan than the run's")
    of_steps = ((of_step, "step_pool_factor") for of_step in maps.by_step.values())
    for summed, field in ((maps.total, "pool_factor"), *of_steps):
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
    """Raise a ValueError if a word's maps would not be found by the positions of its tokens."""
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
            _read_pool_factor(of_block, "pool_factor"),
            _read_pool_factor(of_block, "step_pool_factor"),
        )
        largest = max(block.pool_factor, block.step_pool_factor)
        if block.height % largest or block.width % largest:
            raise ValueError(
                f"{ENTRY}: a map of {block.height} × {block.width} in {name} cannot be 1/{largest} as large"
            )
    if not blocks:
        raise ValueError(f"{ENTRY}: attention's 'blocks' are empty")
    return tuple(blocks.values())


def _read_pool_factor(item: Fields, name: str) -> int:
    factor = item.integer(name, 1, _POOL_FACTORS[-1])
    if factor not in _POOL_FACTORS:
        raise ValueError(f"{ENTRY}: '{name}' is {factor}, expected a power of 2")
    return factor


def _read_rest_names(item: Fields) -> tuple[str, ...]:
    names = [rest.text("name") for rest in item.items("rest", _MAX_REST)]
    if len(set(names)) < len(names) or not all(map(_REST_NAME.fullmatch, names)):
        raise ValueError(f"{ENTRY}: attention's 'rest' has a name twice, or one that is no name")
    return tuple(names)


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
