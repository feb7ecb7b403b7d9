"""Pictures of single tokens in .lens files: since version 1.1, and as strictly read as the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.tokens import PromptPart
from drawn_runs import assert_same, drawn_run, picture
from lens_archives import as_version_1, refused, rewrite, rewrite_record, unpack


def token_run() -> LensRun:
    return drawn_run(
        depth=3,
        token_masks={3: (3,), PromptPart.PADDING: (7, 8), 1: (1, 2)},
        token_images={(2, 3): picture(20), (2, PromptPart.PADDING): picture(21), (0, 1): picture(22)},
        token_failures={(1, PromptPart.PADDING): "not finite"},
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return token_run().save(tmp_path / "a.lens")


def test_it_comes_back_bit_by_bit(saved: Path) -> None:
    assert_same(LensRun.load(saved), token_run())
    names = {name for name in unpack(saved) if name.startswith("tokens/")}
    assert names == {"tokens/2-3.webp", "tokens/2-padding.webp", "tokens/0-1.webp"}


def test_a_file_of_version_1_0_has_none(tmp_path: Path) -> None:
    path = drawn_run(depth=2).save(tmp_path / "a.lens")

    rewrite_record(path, lambda record: as_version_1(record, 0))
    assert_same(LensRun.load(path), drawn_run(depth=2))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["token_masks"].append({"token": 3, "positions": [3]}), "'token_masks' has token 3 twice"),
        (lambda r: r["token_masks"][0].update(token="end"), "'token' is \"end\", expected one of"),
        (lambda r: r["token_masks"][0].update(token=-1), "'token' is -1"),
        (lambda r: r["token_masks"][0].update(token=True), "'token' is true"),
        (
            lambda r: r["token_masks"][0].update(positions=[9]),
            "'positions' is a list of 1, expected a list of whole numbers from 0",
        ),
        (lambda r: r["token_masks"][0].update(positions=[1] * 10), "at most 9"),
        (lambda r: r["token_masks"].pop(), "'token_images' has token 1, which 'token_masks' does not have"),
        (
            lambda r: r["token_failures"][0].update(token="prompt"),
            "has token prompt, which 'token_masks'",
        ),
        (lambda r: r["token_failures"][0].update(message=3), "'message' is 3"),
        (lambda r: r["token_images"][0].update(layer=9), "'token_images' has layer 9"),
        (lambda r: r["token_images"][0].update(token=1), "places layer 2 in 'tokens/2-3.webp', not 'tokens/2-1.webp'"),
        (lambda r: r["token_images"].append(r["token_images"][0]), "'token_images' has layer 2 token 3 twice"),
        (lambda r: r["token_images"][0].update(width=99), "is 64 × 64 pixels, 99 × 64 were expected"),
        (lambda r: r["token_images"].pop(), "entry 'tokens/0-1.webp' is not part of its run"),
        (lambda r: r.update(token_masks={}), "'token_masks' is an object of 0, expected a list"),
    ],
)
def test_what_no_run_would_write_is_refused(saved: Path, change: Any, reason: str) -> None:
    rewrite_record(saved, change)
    refused(saved, reason)


def test_a_missing_picture_is_named(saved: Path) -> None:
    rewrite(saved, lambda entries: entries.pop("tokens/2-padding.webp"))
    refused(saved, "tokens/2-padding.webp")


def test_what_a_file_cannot_hold_is_refused_when_saving(tmp_path: Path) -> None:
    for fields, reason in (
        ({"token_images": {(0, 1): picture(0)}}, "'token_masks' does not have"),
        ({"token_masks": {1: (1,)}, "token_images": {(0, 1): picture(0).convert("L")}}, "is L, RGB was expected"),
    ):
        with pytest.raises(ValueError, match=reason):
            drawn_run(**fields).save(tmp_path / "a.lens")
    assert not list(tmp_path.iterdir())
