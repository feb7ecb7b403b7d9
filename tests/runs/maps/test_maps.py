"""The record: its size known before, words found without a tokenizer, maps brought to another grid, mass in a mask."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import AttentionOptions, DiffusionLens, PromptPart
from difflens_widgets.runs.events import Event, Message
from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from difflens_widgets.runs.maps.plan import Block, Plan, plan_capture
from difflens_widgets.runs.maps.resample import enlarged, shrunk
from difflens_widgets.runs.tokens import Token
from difflens_widgets.runs.words import positions_of
from pipelines import small_pipeline
from stock import PROMPT


def tokens_of(*words: str, length: int = 12) -> tuple[Token, ...]:
    """A prompt's tokens; a word "+xes" goes on with the one before."""
    texts = ["<s>", *words, "</s>"]
    kinds = ["bos", *["word"] * len(words), "eos"]
    tokens = [Token(i, t.lstrip("+"), kind, t[0] == "+") for i, (t, kind) in enumerate(zip(texts, kinds, strict=True))]
    return (*tokens, *(Token(index, "</s>", "pad") for index in range(len(tokens), length)))


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


# words


PROMPT_TOKENS = tokens_of("two", "fo", "+xes", ",", "a", "dog", "'s", "Ünïcode", "two")


@pytest.mark.parametrize(
    ("word", "positions"),
    [
        ("foxes", (2, 3)),
        ("FOXES", (2, 3)),
        ("foxes,", (2, 3, 4)),
        ("two foxes", (1, 2, 3)),
        ("a dog's", (5, 6, 7)),
        ("dog", (6,)),
        ("u\u0308ni\u0308code", (8,)),
        (3, (3,)),
        (np.int64(0), (0,)),
        (PromptPart.PADDING, (11,)),
        (PromptPart.PROMPT, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    ],
    ids=str,
)
def test_words_are_found_with_all_their_pieces(word, positions) -> None:
    assert positions_of(word, PROMPT_TOKENS) == positions


@pytest.mark.parametrize("word", ["fo", "xes", "adog", "foxes dog", "dog s", "two two"])
def test_words_that_are_not_there(word) -> None:
    with pytest.raises(ValueError, match="is not in the prompt; its words are: 'two', 'foxes', ',', 'a', 'dog'"):
        positions_of(word, PROMPT_TOKENS)


# grids


@pytest.mark.parametrize(("before", "after"), [((3, 4), (8, 9)), ((4, 4), (8, 8)), ((1, 1), (3, 2))])
def test_enlarged_as_torch_does(before, after) -> None:
    maps = np.random.default_rng(0).random((2, *before))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size=after, mode="bilinear")[0]
    np.testing.assert_allclose(enlarged(maps, after), theirs.numpy(), atol=1e-12)


def test_shrunk_to_the_mean_of_the_area() -> None:
    maps = np.random.default_rng(0).random((6, 8))
    np.testing.assert_allclose(shrunk(maps, (3, 2)), maps.reshape(3, 2, 2, 4).mean((1, 3)))
    uneven = np.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(shrunk(uneven, (1, 2)), [[0, 2 / 3]])


# maps made by hand


def by_hand(aggregator: str = "mean") -> AttentionMaps:
    """Of "fo|xes run" with 3 padding positions; a fine and a coarse block, two forwards, the second kept by itself."""
    tokens = tokens_of("fo", "+xes", "run", length=8)
    blocks = (Block("down_blocks.0", 4, 4, 3), Block("mid_block", 2, 2, 1))
    plan = Plan(tokens, aggregator, 32, 32, (4, 4), blocks, (1,), 1)
    rng = np.random.default_rng(0)
    second = {block.name: rng.random((6, block.height, block.width), dtype=np.float32) for block in blocks}
    both = {name: maps + rng.random(maps.shape, dtype=np.float32) for name, maps in second.items()}
    return AttentionMaps(plan, BlockMaps(both, 2), {1: BlockMaps(second, 1)})


def test_a_words_map_is_the_mean_of_its_pieces() -> None:
    maps = by_hand()
    coarse = maps.total.maps["mid_block"]
    np.testing.assert_allclose(maps.heatmap("foxes", block="mid_block"), coarse[[1, 2]].mean(0) / 2, rtol=1e-6)
    np.testing.assert_allclose(maps.heatmap(2, block="mid_block"), coarse[2] / 2, rtol=1e-6)
    np.testing.assert_allclose(maps.heatmap(PromptPart.PADDING, block="mid_block"), coarse[5] / 2, rtol=1e-6)
    np.testing.assert_allclose(
        maps.heatmap(3, block="mid_block", step=1), maps.by_step[1].maps["mid_block"][3], rtol=1e-6
    )
    assert maps.heatmap("run").dtype == np.float32


def test_all_blocks_count_as_many_times_as_they_have_layers() -> None:
    maps = by_hand()
    fine, coarse = (maps.heatmap("run", block=block) for block in maps.blocks)
    expected = (3 * fine + enlarged(coarse, (4, 4))) / 4
    np.testing.assert_allclose(maps.heatmap("run"), expected, rtol=1e-6)
    np.testing.assert_allclose(maps.heatmap("run", block=iter(maps.blocks)), expected, rtol=1e-6)
    np.testing.assert_allclose(maps.heatmap("run", block=["mid_block"]), enlarged(coarse, (4, 4)), rtol=1e-6)


def test_daams_maps_are_sums_over_steps() -> None:
    mean, daam = by_hand(), by_hand("daam")
    np.testing.assert_allclose(daam.heatmap("run"), 2 * mean.heatmap("run"), rtol=1e-6)
    np.testing.assert_allclose(daam.heatmap("run", step=1), mean.heatmap("run", step=1), rtol=1e-6)


def test_token_heatmaps_are_those_of_every_position_at_once() -> None:
    for maps in (by_hand(), by_hand("daam")):
        for options in ({}, {"block": "mid_block"}, {"step": 1}, {"block": ["down_blocks.0"], "step": 1}):
            positions = [0, 1, 2, 3, 4, PromptPart.PADDING]
            one_by_one = [maps.heatmap(position, **options) for position in positions]
            np.testing.assert_allclose(maps.token_heatmaps(**options), one_by_one, rtol=1e-6)
    with pytest.raises(ValueError, match="there is no 'attic'"):
        by_hand().token_heatmaps(block="attic")
    with pytest.raises(ValueError, match="step: 0 was not kept"):
        by_hand().token_heatmaps(step=0)


def test_mass_in_a_mask() -> None:
    maps = by_hand()
    left = np.zeros((32, 32), dtype=bool)
    left[:, :12] = True
    found = maps.heatmap("run").astype(float)
    expected = (found[:, 0].sum() + found[:, 1].sum() / 2) / found.sum()  # 12 of 32 pixels are 1½ of 4
    assert maps.mass_in_mask(left, "run") == pytest.approx(expected)
    assert maps.mass_in_mask(~left, "run") == pytest.approx(1 - expected)
    assert maps.mass_in_mask(np.array([[1, 0.5, 0, 0]] * 4), "run") == pytest.approx(
        (found[:, 0].sum() + found[:, 1].sum() / 2) / found.sum()
    )
    coarse = maps.heatmap("run", block="mid_block", step=1).astype(float)
    expected = 0.75 * coarse[:, 0].sum() / coarse.sum()
    assert maps.mass_in_mask(left, "run", block="mid_block", step=1) == pytest.approx(expected)
    lens_maps = LensAttention(maps.plan)
    lens_maps.add(7, maps)
    assert lens_maps.mass_in_mask(left, "run", layer=7) == maps.mass_in_mask(left, "run")


def test_the_mass_of_nothing_is_not_a_number() -> None:
    maps = by_hand("daam")
    for of_block in maps.total.maps.values():
        of_block[3] = 0
    assert np.isnan(maps.mass_in_mask(np.ones((4, 4)), "run"))


# size


@dataclass
class SizedLayer:
    block: str
    side: int
    heads: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        return height // self.side, width // self.side


SD15 = [
    SizedLayer(f"{name}.{block}", side, 8)
    for name, sides, count in (("down", (1, 2, 4), 2), ("mid", (8,), 1), ("up", (4, 2, 1), 3))
    for block, side in enumerate(sides)
    for _ in range(count)
]


def sd15_plan(words: int = 11, pictures: int = 13, **options: object) -> Plan:
    tokens = tokens_of(*["word"] * words, length=77)
    sizes = {"grid": (64, 64), "vae_scale_factor": 8, "steps": 20, "pictures": pictures}
    return plan_capture(SD15, tokens, AttentionOptions(**options), **sizes)


def test_the_bytes_of_sd15() -> None:
    plan = sd15_plan()
    assert [block.weight for block in plan.blocks] == [2, 2, 2, 1, 3, 3, 3]
    assert plan.bytes == 13 * 14 * 4 * (2 * (4096 + 1024 + 256) + 64)  # 7.9 MB
    assert not plan.note
    daam = sd15_plan(aggregator="daam")
    assert [block.weight for block in daam.blocks] == [16, 16, 16, 8, 24, 24, 24]
    assert daam.bytes == 13 * 14 * 4 * 7 * 4096


MID = SizedLayer("mid_block", 8, 8)


@pytest.mark.parametrize(
    ("aggregator", "mid_block", "kept"),
    [
        ("mean", None, True),
        ("mean", True, True),
        ("mean", False, False),
        ("daam", None, False),  # as DAAM's own code
        ("daam", True, True),
        ("daam", False, False),
    ],
)
def test_whether_the_middle_block_is_kept(aggregator, mid_block, kept) -> None:
    options = AttentionOptions(aggregator, mid_block=mid_block)
    sizes = {"grid": (64, 64), "vae_scale_factor": 8, "steps": 20, "pictures": 1}
    plan = plan_capture([*SD15[:2], MID], tokens_of("word"), options, **sizes)
    assert [block.name for block in plan.blocks] == ["down.0", *(["mid_block"] if kept else [])]
    if not kept:
        with pytest.raises(ValueError, match=rf"only the U-Net's middle block .*\('{aggregator}', mid_block=True\)"):
            plan_capture([MID], tokens_of("word"), options, **sizes)


def test_the_largest_maps_of_steps_are_pooled_first() -> None:
    plan = sd15_plan(steps="all")
    assert plan.bytes <= 64e6
    assert [block.step_pool_factor for block in plan.blocks] == [2, 2, 1, 1, 1, 2, 2]
    assert all(block.pool_factor == 1 for block in plan.blocks)
    assert "maps of single steps in down.0, down.1, up.1, up.2 are kept at a lower resolution" in plan.note
    small = sd15_plan(budget_mb=2.5)
    assert [block.pool_factor for block in small.blocks] == [2, 2, 1, 1, 1, 2, 2]
    assert "of all steps together in" in small.note
    with pytest.raises(ValueError, match=r"13 pictures and 20 steps would take .* the budget is 1 MB"):
        sd15_plan(steps="all", budget_mb=1)


@pytest.mark.parametrize("aggregator", ["mean", "daam"])
@pytest.mark.parametrize(("budget", "sides"), [(64.0, (8, 8)), (0.03, (8, 4)), (0.012, (4, 4))])
def test_the_estimate_is_what_is_kept_and_pooling_keeps_the_mean(lens, aggregator, budget, sides) -> None:
    options = {"layers": [1, 4], "num_inference_steps": 2, "guidance_scale": 4.0}
    requested = AttentionOptions(aggregator, steps="all", budget_mb=budget)
    job = lens._jobs(PROMPT, attention=requested, **options)[0]
    estimate = job.run.attention.plan.bytes
    events: list[Event] = []
    job.subscribe(events.append)
    run = job.wait()
    assert sum(run.attention[layer].nbytes for layer in run.attention) == estimate <= budget * 1e6
    assert run.attention.heatmap("red", block="down_blocks.0").shape == (sides[0],) * 2
    assert run.attention.heatmap("red", block="down_blocks.0", step=1).shape == (sides[1],) * 2
    assert [event.message for event in events if isinstance(event, Message)] == (
        [run.attention.plan.note] if sides != (8, 8) else []
    )
    full = lens(PROMPT, attention=AttentionOptions(aggregator, steps="all"), **options).attention
    for step in (None, 0, 1):
        for block in run.attention.blocks:
            ours, theirs = (one.heatmap("red", block=block, step=step, layer=1) for one in (run.attention, full))
            np.testing.assert_allclose(ours, shrunk(theirs, ours.shape), rtol=1e-5)
    assert run.attention.heatmap("red").shape == (8, 8)


def test_the_record_needs_no_torch() -> None:
    code = "import sys, difflens_widgets.runs.maps.maps; assert not {'torch', 'diffusers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
