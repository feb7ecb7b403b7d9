"""Files that version 0.1 wrote: read today, with the same content under today's names."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflens_widgets import Comparison, LensRun, PromptPart
from difflens_widgets.runs.format.legacy import upgrade
from drawn_runs import assert_same, drawn_run
from lens_archives import as_version_1, rewrite_record

DATA = Path(__file__).parents[2] / "data"


def test_a_run_of_version_1_2() -> None:
    """Written by 0.1 itself, with pictures of single tokens, a snapshot, and attention maps."""
    run = LensRun.load(DATA / "run-1.2.lens")
    assert (run.prompt, run.layers, run.num_layers, run.seed) == ("a red circle, foxes", (0, 2, 4), 5, 3)
    named = {name: run.settings[name] for name in ("num_inference_steps", "method", "batch_size", "text_encoder")}
    assert named == {"num_inference_steps": 2, "method": "lens", "batch_size": 2, "text_encoder": "text_encoder"}
    assert not {"steps", "question", "chunk", "encoder"} & run.settings.keys()
    assert [token.kind for token in run.tokens][:2] == ["bos", "word"]
    assert {token.kind for token in run.tokens} == {"bos", "word", "eos", "pad"}
    assert any(token.is_continuation for token in run.tokens)
    assert list(run.token_masks) == [3, PromptPart.PADDING]
    assert run.token_masks[3] == (3,)
    assert sorted(run.snapshots) == [(0, 0), (2, 0), (4, 0)]
    assert sorted(run.token_images, key=str) == [(k, t) for k in (0, 2, 4) for t in (3, PromptPart.PADDING)]
    assert run.attention is not None
    assert run.attention.layers == (0, 2, 4)
    with zipfile.ZipFile(DATA / "run-1.2.lens") as archive:
        for layer, image in run.images.items():
            stored = Image.open(io.BytesIO(archive.read(f"images/{layer}.webp")))
            assert np.array_equal(np.asarray(stored), np.asarray(image))


def test_it_is_written_in_todays_words_and_comes_back(tmp_path: Path) -> None:
    run = LensRun.load(DATA / "run-1.2.lens")
    again = LensRun.load(run.save(tmp_path / "again.lens"))
    assert_same(again, run)
    with zipfile.ZipFile(tmp_path / "again.lens") as archive:
        record = json.loads(archive.read("run.json"))
    assert record["version"] == [2, 1]
    assert "kept" not in record


def test_a_comparison_of_version_1() -> None:
    comparison = Comparison.load(DATA / "comparison-1.0.lenses")
    assert list(comparison.runs) == ["raw", "tuned", "tuned-raw", "raw-tuned"]
    assert comparison.raw.settings["num_inference_steps"] == 2
    assert np.isfinite(comparison.metrics["state_cosine"]).all()


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_every_minor_version(tmp_path: Path, minor: int) -> None:
    path = drawn_run(depth=2).save(tmp_path / "a.lens")
    rewrite_record(path, lambda record: as_version_1(record, minor))
    assert_same(LensRun.load(path), drawn_run(depth=2))


@pytest.mark.parametrize(
    "record",
    [{}, {"settings": 3, "tokens": 3, "kept": 3}, {"tokens": [3, {}], "kept": [3, {"token": 1}]}],
    ids=str,
)
def test_anything_can_be_upgraded_and_is_checked_later(record: dict[str, object]) -> None:
    assert upgrade(record, 2)["settings"] == record.get("settings")
