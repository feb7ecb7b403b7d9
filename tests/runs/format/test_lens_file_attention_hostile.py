"""Attention maps that no run would write are refused, when read and when saved, with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from drawn_runs import TOKENS, attention_run, drawn_attention, drawn_run, padded_tokens
from lens_archives import refused, rewrite, rewrite_record, unpack

ENTRY = "attention.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return attention_run().save(tmp_path / "a.lens")


def change(*path: Any, to: Any) -> Any:
    """Put something at one place of the record's attention."""

    def edit(record: dict[str, Any]) -> None:
        place = record["attention"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda r: r.update(attention=[]), "'attention' is a list of 0, an object was expected"),
        (lambda r: r.update(attention=None), "entry 'attention.safetensors' is not part of its run"),
        (lambda r: r.pop("attention"), "entry 'attention.safetensors' is not part of its run"),
        (change("aggregator", to="sum"), "'attention': 'aggregator' is \"sum\", expected one of"),
        (change("aggregator", to=["mean"]), "'aggregator' is a list of 1"),
        (change("height", to=float("nan")), "NaN is not a number"),
        (change("height", to=float("inf")), "Infinity is not a number"),
        (change("height", to=10**9), "'height' is 1000000000"),
        (change("width", to=-32), "'width' is -32"),
        (change("width", to="32"), "'width' is \"32\""),
        (change("grid", to=[8]), r"'grid' is \[8\], which no picture of 32 × 64 pixels has"),
        (change("grid", to=[8, 4, 1]), "'grid' is a list of 3, expected a list of at most 2"),
        (change("grid", to=[7, 4]), r"'grid' is \[7, 4\], which no picture"),
        (change("grid", to=[2**40, 4]), "'grid' is a list of 2, expected a list of whole numbers from 1 to 2048"),
        (change("grid", to=[8.0, 4]), "'grid' is a list of 2, expected a list of whole numbers"),
        (change("pictures", to=0), "'pictures' is 0"),
        (change("pictures", to=True), "'pictures' is true"),
        (change("steps", to=[3, 1]), "'steps' are not in order, or name a step twice"),
        (change("steps", to=[1, 1, 3]), "'steps' are not in order, or name a step twice"),
        (change("steps", to=[1, 2]), "'maps' have step 3, which was not to be kept"),
        (change("steps", to=[-1, 1, 3]), "'steps' is a list of 3, expected a list of whole numbers"),
        (change("blocks", to=[]), "'blocks' are empty"),
        (change("blocks", to=[{}] * 257), "'blocks' is a list of 257, expected a list of at most 256"),
        (change("blocks", 1, "name", to="down_blocks.0"), "'blocks' have 'down_blocks.0', which is .* there twice"),
        (change("blocks", 1, "name", to="../mid"), "'blocks' have '../mid', which is no block's name"),
        (change("blocks", 1, "name", to="mid_block\n"), r"'blocks' have 'mid_block\\n', which is no block's name"),
        (change("blocks", 1, "name", to="up_blocks.9"), r"holds the tensors \['0/down_blocks.0', .*'0/mid_block'"),
        (change("blocks", 1, "height", to=9), "'height' is 9, expected a whole number from 1 to 8"),
        (change("blocks", 1, "width", to=0), "'width' is 0"),
        (
            change("blocks", 1, "width", to=2),
            r"'0/mid_block' is F32 of shape \(6, 2, 1\), expected F32 of shape \(6, 2, 2\)",
        ),
        (change("blocks", 1, "weight", to=0), "'weight' is 0"),
        (change("blocks", 1, "weight", to=10**12), "'weight' is 1000000000000"),
        (change("blocks", 1, "pool_factor", to=2), "a map of 2 × 1 in mid_block cannot be 1/2 as large"),
        (change("blocks", 0, "step_pool_factor", to=8), "a map of 8 × 4 in down_blocks.0 cannot be 1/8 as large"),
        (change("blocks", 0, "step_pool_factor", to=-1), "'step_pool_factor' is -1"),
        (change("blocks", 0, "step_pool_factor", to=3), "'step_pool_factor' is 3, expected a power of 2"),
        (change("blocks", 0, "pool_factor", to=10**9), "'pool_factor' is 1000000000"),
        (change("blocks", 0, "pool_factor", to=2), "entry 'attention.safetensors': '0/down_blocks.0' is F32 of shape"),
        (change("rest", to=None), "'rest' is null"),
        (change("rest", to=[{"name": "image"}] * 2), "'rest' has a name twice, or one that is no name"),
        (change("rest", to=[{"name": "../image"}]), "'rest' has a name twice, or one that is no name"),
        (change("rest", to=[{"name": "image"}]), r"is F32 of shape \(6, 8, 4\), expected F32 of shape \(7, 8, 4\)"),
        (change("maps", to={}), "'maps' is an object of 0"),
        (change("maps", to=[]), "entry 'attention.safetensors' is not part of its run"),
        (change("maps", 1, "layer", to=0), "'maps' has layer 0 twice"),
        (change("maps", 1, "layer", to=3), "'maps' has layer 3, which is none of the run's layers"),
        (change("maps", 1, "layer", to=1), r"holds the tensors \['0/down_blocks.0', .* expected"),
        (change("maps", 1, "entry", to="states.safetensors"), "places layer 2 in 'states.safetensors', not"),
        (change("maps", 1, "forwards", to=0), "'forwards' is 0"),
        (change("maps", 1, "forwards", to=0.5), "'forwards' is 0.5"),
        (change("maps", 1, "steps", 0, "forwards", to=None), "'forwards' is null"),
        (change("maps", 1, "steps", 0, "step", to=3), "'maps' have step 3, which was .* there twice"),
        (change("maps", 1, "steps", 0, "step", to=2), "'maps' have step 2, which was not to be kept"),
        (
            change("maps", 1, "steps", to=[{"step": 1, "forwards": 2}]),
            r"'2/down_blocks.0/steps' is F32 of shape \(2, 6, 4, 2\), expected F32 of shape \(1, 6, 4, 2\)",
        ),
        (change("maps", 1, "steps", to=[{}] * 3), "'steps' is a list of 3, expected a list of at most 2"),
    ],
)
def test_what_no_run_would_write_is_refused(saved: Path, edit: Any, reason: str) -> None:
    rewrite_record(saved, edit)
    refused(saved, reason)


def test_every_field_is_needed(saved: Path) -> None:
    original = saved.read_bytes()
    attention = json.loads(unpack(saved)["run.json"])["attention"]
    places: list[tuple[Any, ...]] = [(name,) for name in attention]
    places += [("blocks", 0, name) for name in attention["blocks"][0]]
    places += [("maps", 0, name) for name in attention["maps"][0]]
    places += [("maps", 0, "steps", 0, name) for name in attention["maps"][0]["steps"][0]]
    for place in places:

        def drop(record: dict[str, Any], place: tuple[Any, ...] = place) -> None:
            inner = record["attention"]
            for key in place[:-1]:
                inner = inner[key]
            del inner[place[-1]]

        rewrite_record(saved, drop)
        assert f"'{place[-1]}' is missing" in refused(saved, "missing")
        saved.write_bytes(original)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tokens: tokens[3].update(index=60_000),
        lambda tokens: tokens[1].update(index=0),
        lambda tokens: tokens[1].update(kind="pad"),
        lambda tokens: tokens[7].update(kind="word"),
        list.clear,
    ],
)
def test_tokens_that_maps_cannot_be_found_by_are_refused(saved: Path, edit: Any) -> None:
    """A word's map is found by its place: a place beyond the maps would fail later, or give another word's."""
    rewrite_record(saved, lambda record: edit(record["tokens"]))
    refused(saved, "'tokens' are not numbered 0, 1, ... with the padding last")


def test_one_word_more_or_less_is_refused(saved: Path) -> None:
    rewrite_record(saved, lambda record: record["tokens"][5].update(kind="eos"))
    refused(saved, r"is F32 of shape \(6, 8, 4\), expected F32 of shape \(7, 8, 4\)")


def test_more_than_any_run_has_is_refused_before_a_byte_is_read(saved: Path) -> None:
    def huge(record: dict[str, Any]) -> None:
        attention = record["attention"]
        attention.update(height=16_000, width=16, grid=[2_000, 2])
        side = {"height": 2_000, "width": 2, "pool_factor": 1, "step_pool_factor": 1}
        attention["blocks"] = [{**attention["blocks"][0], **side, "name": f"b.{index}"} for index in range(256)]
        attention["steps"] = list(range(60))
        attention["maps"][0]["steps"] = [{"step": step, "forwards": 1} for step in range(60)]

    rewrite_record(saved, huge)
    refused(saved, "'attention' takes [0-9,]+ bytes, at most 1,073,741,824 are allowed")


def test_too_many_tensors_are_refused(saved: Path) -> None:
    def many(record: dict[str, Any]) -> None:
        record.update(num_layers=4_096, layers=list(range(4_096)))
        attention = record["attention"]
        attention["maps"] = [{**attention["maps"][0], "layer": layer} for layer in range(4_096)]
        attention["blocks"] = [{**attention["blocks"][1], "name": f"b.{index}"} for index in range(8)]

    rewrite_record(saved, many)
    refused(saved, "attention has 8 blocks of 4096 layers, which are too many")


def test_tensors_that_are_not_what_was_declared_are_refused(saved: Path) -> None:
    good = safetensors.numpy.load(unpack(saved)[ENTRY])
    original = saved.read_bytes()
    for tensors, reason in [
        ({k: v for k, v in good.items() if k != "2/mid_block"}, "holds the tensors"),
        ({**good, "2/up_blocks.7": good["2/mid_block"]}, "holds the tensors"),
        ({**good, "2/mid_block": good["2/mid_block"].astype(np.float64)}, "'2/mid_block' is F64"),
        ({**good, "2/mid_block": good["2/mid_block"].transpose(0, 2, 1).copy()}, r"is F32 of shape \(6, 1, 2\)"),
        ({**good, "2/mid_block": np.zeros((10_000, 2, 1), np.float32)}, "declares [0-9,]+ bytes, at most"),
    ]:
        rewrite(saved, lambda entries, t=tensors: entries.update({ENTRY: safetensors.numpy.save(t)}))
        assert ENTRY in refused(saved, reason)
        saved.write_bytes(original)


def test_damaged_maps_are_refused(saved: Path) -> None:
    original, data = saved.read_bytes(), unpack(saved)[ENTRY]
    for damaged in (b"", data[:-100], data[:40], b"\xff" * 200, data + b"more"):
        rewrite(saved, lambda entries, d=damaged: entries.update({ENTRY: d}))
        refused(saved, "entry 'attention.safetensors' is damaged")
        saved.write_bytes(original)
    rewrite(saved, lambda entries: entries.pop(ENTRY))
    refused(saved, "entry 'attention.safetensors' is missing")


def test_maps_that_no_run_speaks_of_are_refused(tmp_path: Path) -> None:
    path = drawn_run(depth=2).save(tmp_path / "a.lens")
    rewrite(path, lambda entries: entries.update({ENTRY: b"x"}))
    refused(path, "entry 'attention.safetensors' is not part of its run")


# what cannot be saved


def with_maps(layer: int, **summed: Any) -> LensAttention:
    """Made-up attention in which some of a layer's maps are others."""
    attention = drawn_attention(TOKENS, (0, 2))
    of_layer = attention[layer]
    maps = {**of_layer.total.maps, **summed}
    attention.add(layer, AttentionMaps(of_layer.plan, BlockMaps(maps, of_layer.total.forwards), of_layer.by_step))
    return attention


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (drawn_attention(padded_tokens("a pink dog", 8), (0,)), "attention: its tokens are not those of the run"),
        (drawn_attention(TOKENS, (0, 7)), "'maps' has layer 7, which is none of the run's layers"),
        (with_maps(2, mid_block=np.zeros((6, 2, 1))), "the maps of layer 2 in mid_block are float64 of shape"),
        (with_maps(2, mid_block=np.zeros((6, 1, 2), np.float32)), r"\(6, 1, 2\), float32 of shape \(6, 2, 1\) was"),
        (
            with_maps(0, other=np.zeros((6, 2, 1), np.float32)),
            "layer 0 has maps of the blocks down_blocks.0, mid_block",
        ),
    ],
)
def test_what_a_file_cannot_hold_is_refused_when_saving(tmp_path: Path, attention: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        attention_run(attention=attention).save(tmp_path / "a.lens")
    assert not list(tmp_path.iterdir())


def test_maps_of_another_plan_are_refused_when_saving(tmp_path: Path) -> None:
    run = attention_run()
    run.attention.add(0, drawn_attention(TOKENS, (0,), aggregator="daam")[0])
    with pytest.raises(ValueError, match="maps of layer 0 were kept by another plan"):
        run.save(tmp_path / "a.lens")
