"""Sound archives with contents that no run has: pictures, arrays and every field of run.json are checked."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from difflens_widgets.runs.run import LensRun
from drawn_runs import assert_same, drawn_run, picture
from lens_archives import refused, rewrite, rewrite_record, unpack


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return drawn_run(depth=3).save(tmp_path / "demo.lens")


def webp(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (webp(Image.new("RGB", (65, 64)), lossless=True), "is 65 × 64 pixels, 64 × 64 were expected"),
        (webp(Image.new("RGB", (16_383, 16_000)), lossless=True), "is 16383 × 16000 pixels"),
        (webp(picture(0), quality=80), "is not a lossless WebP"),
        (webp(Image.new("RGBA", (64, 64), (9, 9, 9, 9)), lossless=True), "is not a lossless WebP|is a RGBA picture"),
        (webp(picture(0), lossless=True)[:-50], "is damaged: its length"),
        (webp(picture(0), lossless=True, save_all=True, append_images=[picture(1)]), "is not a lossless WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is not a lossless WebP"),
        (b"", "is not a lossless WebP"),
    ],
)
def test_pictures_that_are_not_what_was_declared_are_refused(saved: Path, data: bytes, reason: str) -> None:
    rewrite(saved, lambda entries: entries.update({"images/0.webp": data}))
    message = refused(saved, reason)
    assert "entry 'images/0.webp'" in message


def test_arrays_that_are_not_what_was_declared_are_refused(saved: Path) -> None:
    good = safetensors.numpy.load(unpack(saved)["latents.safetensors"])
    for entry, tensors, reason in [
        ("states.safetensors", {"states": np.zeros((3, 9, 8), np.float32)}, "'states' is F32 of shape"),
        ("states.safetensors", {"states": np.zeros((3, 8, 9), np.float16)}, r"of shape \(3, 8, 9\), expected"),
        ("states.safetensors", {"state": np.zeros((3, 9, 8), np.float16)}, r"holds the tensors \['state'\]"),
        ("latents.safetensors", {k: v for k, v in good.items() if k != "1"}, r"holds the tensors \['0', '2'\]"),
        ("latents.safetensors", {**good, "1": good["1"].astype(np.float64)}, "'1' is F64"),
    ]:
        original = saved.read_bytes()
        rewrite(saved, lambda entries, e=entry, t=tensors: entries.update({e: safetensors.numpy.save(t)}))
        refused(saved, reason)
        saved.write_bytes(original)
    rewrite(saved, lambda entries: entries.update({"states.safetensors": b"\xff" * 200}))
    refused(saved, "entry 'states.safetensors' is damaged")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "run.json is not valid JSON"),
        (b"[]", "run.json is a list of 0, an object was expected"),
        (b"null", "run.json is null, an object"),
        (b"\xff\xfe", "run.json is not valid JSON"),
        (b'{"format": "difflens-lens", "version": [1, NaN]}', "NaN is not a number"),
        (
            b'{"format": "difflens-lens", "version": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "nested too deep|not valid JSON",
        ),
        (b'{"format": "difflens-lens", "seed": ' + b"9" * 10_000 + b"}", "run.json"),
        (b'{"format": "other"}', "does not describe a lens run"),
    ],
)
def test_a_record_that_is_not_one_is_refused(saved: Path, text: bytes, reason: str) -> None:
    rewrite(saved, lambda entries: entries.update({"run.json": text}))
    refused(saved, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"version": [3, 0]},
            r"format version 3.0, this difflens_widgets reads version 2: a newer difflens_widgets is needed",
        ),
        ({"version": [0, 9]}, "format version 0.9, which never existed"),
        ({"version": "1.0"}, "'version' is \"1.0\""),
        ({"version": [1]}, "'version' is \\[1\\]"),
        ({"prompt": 3}, "run.json: 'prompt' is 3, expected text"),
        ({"prompt": None}, "'prompt' is null"),
        ({"seed": "0"}, "'seed' is \"0\", expected a whole number"),
        ({"seed": True}, "'seed' is true"),
        ({"seed": 1.0}, "'seed' is 1.0"),
        ({"num_layers": 0}, "'num_layers' is 0"),
        ({"num_layers": 10**9}, "'num_layers' is 1000000000"),
        ({"layers": [0, 1, 3]}, "'layers' is a list of 3, expected a list of whole numbers from 0 to 2"),
        ({"layers": [0, 1, 1]}, "names a layer twice"),
        ({"layers": {"0": 1}}, "'layers' is an object"),
        ({"layers": list(range(3)) * 2}, "at most 3"),
        ({"settings": []}, "'settings' is a list of 0, expected an object"),
        ({"status": "flying"}, "'status' is \"flying\""),
        ({"status": ["done"]}, "'status' is a list"),
        ({"message": {}}, "'message' is an object"),
        (
            {"tokens": [{"index": 0, "text": "a", "kind": "verb", "is_continuation": False}]},
            "'tokens' number 0: 'kind' is \"verb\"",
        ),
        ({"tokens": [{"index": -1, "text": "a", "kind": "word", "is_continuation": False}]}, "'index' is -1"),
        ({"tokens": [{"index": 0, "text": "a", "kind": "word", "is_continuation": 1}]}, "'is_continuation' is 1"),
        ({"tokens": [{"index": 0, "text": "", "kind": "word", "is_continuation": False, "span": [2, 1]}]}, "'span' of"),
        ({"tokens": [{"index": 0, "text": "", "kind": "word", "is_continuation": False, "span": [-1, 1]}]}, "'span'"),
        ({"tokens": ["a"]}, "'tokens' number 0 is \"a\", an object"),
        ({"failures": [{"layer": 9, "message": "x"}]}, "'failures' has layer 9, which is none"),
        ({"failures": [{"layer": 1, "message": "x"}] * 2}, "'failures' has layer 1 twice"),
        (
            {"images": [{"layer": 0, "entry": "../x.webp", "width": 1, "height": 1}]},
            "places layer 0 in '../x.webp', not",
        ),
        (
            {"images": [{"layer": 0, "entry": "images/0.webp", "width": 10_000, "height": 16_000}]},
            "larger than is allowed",
        ),
        ({"images": [{"layer": 0, "entry": "images/0.webp", "width": -1, "height": 1}]}, "'width' is -1"),
        ({"snapshots": [{"layer": 0, "step": 0.5}]}, "'step' is 0.5"),
        (
            {"states": {"entry": "states.safetensors", "shape": [3, 60_000, 60_000]}},
            "'states' takes 21,600,000,000 bytes",
        ),
        ({"states": {"entry": "states.safetensors", "shape": [3, 9]}}, r"shape \(3, 9\), expected 3 dimensions"),
        ({"states": {"entry": "images/0.webp", "shape": [3, 9, 8]}}, "is placed in 'images/0.webp', not"),
        ({"states": [1]}, "'states' is a list of 1, an object"),
        ({"latents": [{"layer": 0, "entry": "latents.safetensors", "shape": [1, 1, "9"]}]}, "'shape' is a list"),
    ],
)
def test_each_field_of_the_record_is_checked(saved: Path, change: dict[str, Any], reason: str) -> None:
    rewrite_record(saved, lambda record: record.update(change))
    refused(saved, reason)


def test_every_field_of_the_record_is_needed(saved: Path) -> None:
    record = json.loads(unpack(saved)["run.json"])
    original = saved.read_bytes()
    for name in set(record) - {"states", "attention"}:
        rewrite_record(saved, lambda record, name=name: record.pop(name))
        refused(saved, "missing|does not describe")
        saved.write_bytes(original)


def test_too_many_pixels_together_are_refused(saved: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["snapshots"] = [
            {"layer": 0, "step": step, "entry": f"snapshots/0-{step}.webp", "width": 8_000, "height": 8_000}
            for step in range(20)
        ]

    rewrite_record(saved, change)
    refused(saved, "the pictures have 1,280,012,288 pixels, at most 1,073,741,824 are allowed")


def test_a_later_minor_version_is_read_and_its_additions_left_alone(tmp_path: Path) -> None:
    run = drawn_run(depth=2)
    path = run.save(tmp_path / "a.lens")
    rewrite_record(path, lambda record: record.update(version=[2, 7], depth={"entry": "depth.safetensors"}))
    rewrite(path, lambda entries: entries.update({"depth.safetensors": b"?", "masks/0-1.webp": b"?"}))
    assert_same(LensRun.load(path), run)
    rewrite(path, lambda entries: entries.update({"../depth.safetensors": b"?"}))
    refused(path, "never has")
