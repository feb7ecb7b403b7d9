"""Variants in .lens files (patches, strengths): since version 2.1, in lists of their own that 2.0 ignores."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from difflens_widgets.runs.render.page.run_views import slider_view
from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.variant import Variant
from drawn_runs import assert_same, drawn_run, picture
from lens_archives import refused, rewrite, rewrite_record, unpack

RED, ALL = Variant("red ← blue", 0), Variant("all positions", 1)


def variant_run() -> LensRun:
    run = drawn_run(
        depth=3,
        token_masks={RED: (2, 3), ALL: ()},
        token_images={(2, RED): picture(20), (0, ALL): picture(21)},
        token_failures={(1, ALL): "not finite"},
    )
    run.settings |= {"method": "patch", "source": "a blue cat", "direction": ["a", 3]}
    return run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return variant_run().save(tmp_path / "a.lens")


def test_they_come_back_bit_by_bit_and_are_found_by_their_text(saved: Path) -> None:
    loaded = LensRun.load(saved)
    assert_same(loaded, variant_run())
    assert [variant.number for variant in loaded.variants] == [0, 1]
    assert loaded.token_images[2, "red ← blue"].tobytes() == picture(20).tobytes()
    names = {name for name in unpack(saved) if name.startswith(("tokens/", "variants/"))}
    assert names == {"variants/2-0.webp", "variants/0-1.webp"}


def test_a_file_of_version_2_0_has_none(saved: Path) -> None:
    """What an older reader does with the lists: it ignores them, as it does the entries of a later minor version."""

    def older(record: dict[str, Any]) -> None:
        assert (record["token_masks"], record["token_images"], record["token_failures"]) == ([], [], [])
        record["version"] = [2, 0]

    rewrite_record(saved, older)
    rewrite(saved, lambda entries: [entries.pop(name) for name in list(entries) if name.startswith("variants/")])
    run = LensRun.load(saved)
    assert (run.token_masks, run.token_images) == ({}, {})
    assert list(run.images) == list(variant_run().images)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["variants"].append(r["variants"][0]), "'variants' has 'red ← blue' twice"),
        (lambda r: r["variants"][0].update(label=3), "'label' is 3, expected text"),
        (lambda r: r["variants"][0].update(positions=[9]), "'positions' is a list of 1"),
        (lambda r: r["variants"].pop(), "'variant_images' has variant 1, the run has 1"),
        (lambda r: r["variant_images"][0].update(variant=-1), "'variant' is -1"),
        (lambda r: r["variant_images"][0].update(variant=1), "places layer 2 in 'variants/2-0.webp'"),
        (lambda r: r["variant_failures"][0].update(message=3), "'message' is 3"),
        (lambda r: r["variant_images"].pop(), "entry 'variants/0-1.webp' is not part of its run"),
        (lambda r: r.pop("variants"), "'variants' is missing"),
    ],
)
def test_what_no_run_would_write_is_refused(saved: Path, change: Any, reason: str) -> None:
    rewrite_record(saved, change)
    refused(saved, reason)


def test_a_copy_keeps_them() -> None:
    run = copy.deepcopy(variant_run())
    assert [(variant, variant.number, type(variant)) for variant in run.variants] == [
        *(("red ← blue", 0, Variant), ("all positions", 1, Variant)),
    ]


def test_a_widget_gets_their_numbers_and_labels() -> None:
    state = slider_view(variant_run()).state
    assert state["token_masks"] == [
        {"token": -3, "positions": [2, 3], "label": "red ← blue"},
        {"token": -4, "positions": [], "label": "all positions"},
    ]
    assert {"layer/2/token/-3", "layer/0/token/-4"} <= set(state["_frames"])
    assert state["token_failures"] == {"layer/1/token/-4": "not finite"}
    assert state["settings"]["source"] == "a blue cat"
    assert "direction" not in state["settings"]  # a file may hold any value


@pytest.mark.parametrize("blocks", [3, [], ["mid_block"], None])
def test_the_blocks_of_a_text_ablation_may_be_anything_in_a_file(blocks: Any) -> None:
    run = drawn_run(depth=3)
    run.settings |= {"method": "text ablation", "without_text": blocks}
    assert run.name_of(2) == "text in all blocks"
    assert run.name_of(1) == ("no text in mid_block" if blocks == ["mid_block"] else "text in all blocks")
