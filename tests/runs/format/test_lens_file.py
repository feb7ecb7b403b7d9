"""The .lens format: what goes in comes out bit by bit, and nothing is ever half-written."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.tokens import Token
from drawn_runs import assert_same, drawn_run, picture


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return drawn_run(depth=3).save(tmp_path / "demo.lens")


def test_a_loaded_picture_equals_the_one_that_was_saved(saved) -> None:
    assert LensRun.load(saved).images == drawn_run(depth=3).images


def test_everything_a_run_has_comes_back_bit_by_bit(tmp_path: Path) -> None:
    run = drawn_run(failures={5: "the latents are not finite"}, message="five failed")
    assert run.save(str(tmp_path / "a.lens")) == tmp_path / "a.lens"
    assert_same(LensRun.load(str(tmp_path / "a.lens")), run)


@pytest.mark.parametrize(
    "fields",
    [
        {"states": None, "images": {}, "latents": {}, "snapshots": {}, "status": "failed", "message": "no pictures"},
        {
            "layers": (12, 3, 7),
            "images": {7: picture(7), 3: picture(3)},
            "latents": {},
            "snapshots": {},
            "status": "stopped",
        },
        {"seed": 2**64 - 1, "snapshots": {}, "settings": {}},
        {"images": {0: Image.new("RGB", (1, 1), (1, 2, 3)), 1: picture(1, 63).crop((0, 0, 63, 17))}},
        {"prompt": "\ud800 lone, \x00 zero, \u2028 line, </script>, “quotes”, 猫 🐈", "tokens": ()},
        {"latents": {0: np.array([[[np.nan, np.inf], [-0.0, 1e-42]]], dtype=np.float32)}},
    ],
)
def test_unusual_runs_come_back(tmp_path: Path, fields: dict[str, Any]) -> None:
    run = drawn_run(**fields)
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)


def test_arrays_that_are_views_are_saved_as_they_look(tmp_path: Path) -> None:
    run = drawn_run(states=np.arange(13 * 6 * 4, dtype=np.float16).reshape(4, 6, 13).T)
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)


def test_numpy_integers_are_taken_for_layers_and_seed(tmp_path: Path) -> None:
    layers = tuple(np.arange(3))
    run = drawn_run(depth=3, seed=np.int64(7), snapshots={(np.int64(1), np.int64(2)): picture(0)})
    run.layers, run.images = layers, {layer: picture(int(layer)) for layer in layers}
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert_same(loaded, run)
    assert {type(layer) for layer in (*loaded.layers, *loaded.images, loaded.seed)} == {int}


def test_a_loaded_run_is_independent_and_writable(saved: Path) -> None:
    run = LensRun.load(saved)
    saved.unlink()
    run.images[0].putpixel((0, 0), (1, 2, 3))
    assert run.states is not None
    run.states[:] = 0
    run.latents[0] += 1


def test_a_run_saved_while_running_is_stopped_when_read(tmp_path: Path) -> None:
    run = LensRun.load(drawn_run(status="running", images={0: picture(0)}).save(tmp_path / "a.lens"))
    assert (run.status, run.message, list(run.images)) == ("stopped", "saved while it was running", [0])


def test_saving_while_a_thread_paints(tmp_path: Path) -> None:
    run = drawn_run(depth=400, status="running", images={}, snapshots={}, latents={}, size=16)
    picture_of = [picture(layer, 16) for layer in range(400)]

    def paint() -> None:
        for layer in range(400):
            run.images[layer] = picture_of[layer]
            time.sleep(0.0002)

    painter = threading.Thread(target=paint)
    painter.start()
    while painter.is_alive():
        loaded = LensRun.load(run.save(tmp_path / "a.lens"))
        assert list(loaded.images) == list(range(len(loaded.images)))
    painter.join()
    assert len(LensRun.load(run.save(tmp_path / "a.lens")).images) == 400


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    first, second = (drawn_run(depth=3).save(tmp_path / name) for name in ("a.lens", "b.lens"))
    assert first.read_bytes() == second.read_bytes()


def test_the_layout_is_as_documented(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert set(archive.namelist()) == {
            "run.json",
            *(f"images/{layer}.webp" for layer in range(3)),
            *(f"snapshots/{layer}-{step}.webp" for layer in (0, 2) for step in (0, 2)),
            "states.safetensors",
            "latents.safetensors",
        }
        record = json.loads(archive.read("run.json"))
        assert (record["format"], record["version"]) == ("difflens-lens", [2, 1])
        assert record["images"][2] == {"layer": 2, "entry": "images/2.webp", "width": 64, "height": 64}
        states = safetensors.numpy.load(archive.read("states.safetensors"))["states"]
        assert (states.dtype, states.shape) == (np.float16, (3, 9, 8))


def test_reading_needs_no_torch(saved: Path) -> None:
    """Also not diffusers or transformers: a report server or a colleague's laptop can open the file."""
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from difflens_widgets import LensRun\n"
        "run = LensRun.load(sys.argv[1]); run.grid(); run.plot(); run.to_gif(sys.argv[1] + '.gif'); print(run)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "LensRun('a pink cat on a blue background', 3 of 3 layers, done)"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"settings": {"guidance_scale": float("inf")}}, r"settings\['guidance_scale'\] is inf, only finite numbers"),
        ({"settings": {"a": [1, {"b": float("nan")}]}}, r"settings\['a'\]\[1\]\['b'\] is nan"),
        ({"settings": {"size": (64, 64)}}, r"settings\['size'\] is a tuple, only text, numbers, lists and dicts"),
        ({"settings": {"g": np.float64(7.5)}}, r"settings\['g'\] is a float64"),
        ({"settings": {1: "one"}}, "settings has the key 1, keys must be text"),
        ({"images": {0: Image.new("RGBA", (8, 8))}}, "picture of layer 0 is RGBA, RGB was expected"),
        ({"images": {77: picture(0)}}, "'images' has layer 77, which is none of the run's layers"),
        ({"images": {0: Image.new("RGB", (16_384, 1))}}, "'width' is 16384"),
        ({"states": np.zeros((13, 9, 8), np.float32)}, "states are float32, float16 was expected"),
        ({"states": np.zeros((2, 9, 8), np.float16)}, "'states' has 2 layers, the run has 13"),
        ({"latents": {0: np.zeros((1, 2, 2), np.float16)}}, "latents of layer 0 are float16, float32"),
        ({"failures": {0: None}}, "'message' is null, expected text"),
        ({"status": "lost"}, "'status' is \"lost\", expected one of"),
        ({"layers": (1, 1)}, "names a layer twice"),
        ({"seed": 2**64}, "'seed' is 18446744073709551616"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_anything_is_written(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "a.lens"
    path.write_bytes(b"former")
    with pytest.raises(ValueError, match=reason) as caught:
        drawn_run(**fields).save(path)
    assert str(caught.value).startswith(f"{path}: cannot save the lens run 'a pink cat on a blue background': ")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.lens", b"former")]


def test_settings_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    knot: dict[str, Any] = {}
    knot["knot"] = knot
    with pytest.raises(ValueError, match="nested too deep"):
        drawn_run(settings=knot).save(tmp_path / "a.lens")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    """A disk of 64 KiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root; the file size limit below shows the same")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_former_file_and_nothing_else(tiny_disk: Path) -> None:
    path = drawn_run(depth=1, snapshots={}).save(tiny_disk / "a.lens")
    before = path.read_bytes()
    with pytest.raises(OSError, match="cannot save the lens run 'a pink cat on a blue background': No space") as caught:
        drawn_run(depth=30).save(path)
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert [p.name for p in tiny_disk.iterdir()] == ["a.lens"]
    assert path.read_bytes() == before


def test_a_file_size_limit_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.lens"
    path.write_bytes(b"former")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # Python ignores SIGXFSZ: write() fails with EFBIG
    try:
        with pytest.raises(OSError, match=r"cannot save the lens run .*a\.lens") as caught:
            drawn_run().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.lens", b"former")]


def test_an_interrupt_while_saving_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        drawn_run(depth=1).save(tmp_path / "a.lens")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot save the lens run .*nowhere"):
        drawn_run(depth=1).save(tmp_path / "nowhere" / "a.lens")


def test_a_link_is_followed_and_permissions_are_ordinary(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "a.lens"
    link.symlink_to(tmp_path / "real" / "b.lens")
    drawn_run(depth=1).save(link)
    assert link.is_symlink()
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE((tmp_path / "real" / "b.lens").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_long_name_in_any_script_is_no_obstacle(tmp_path: Path) -> None:
    name = "猫" * 80 + ".lens"
    assert LensRun.load(drawn_run(depth=1).save(tmp_path / name)).prompt


def test_spans_and_templates_come_back(tmp_path: Path) -> None:
    tokens = (
        Token(0, "<|im_start|>", "template"),
        Token(1, "猫", "word", False, (2, 3)),
        Token(2, "", "word", True, (2, 3)),
    )
    run = LensRun("a 猫", tokens, (0,), 1, 0, {})
    assert LensRun.load(run.save(tmp_path / "a.lens")).tokens == tokens
