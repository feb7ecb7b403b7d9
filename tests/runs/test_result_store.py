"""The store of generated images: memory, disk, limits, and folders that do not work. No torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflens_widgets.runs import result_store as module
from difflens_widgets.runs.result_store import ResultStore, result_store, user_cache_folder
from difflens_widgets.runs.stored_images import StoredImage, from_bytes, to_bytes

KEYS = [f"{number:02x}" * 32 for number in range(40)]


def drawn(seed: int = 0, **more) -> StoredImage:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (16, 24, 3), np.uint8)
    return StoredImage(Image.fromarray(pixels), rng.normal(size=(4, 2, 3)).astype(np.float32), **more)


def equal(a: StoredImage, b: StoredImage) -> bool:
    return (
        a.image.tobytes() == b.image.tobytes()
        and np.array_equal(a.latents, b.latents)
        and {step: image.tobytes() for step, image in a.snapshots.items()}
        == {step: image.tobytes() for step, image in b.snapshots.items()}
    )


def file_of(folder: Path, key: str) -> Path:
    return folder / "v1" / key[:2] / f"{key}.safetensors"


def test_there_and_back() -> None:
    stored = drawn(snapshots={0: drawn(1).image, 12: drawn(2).image})
    assert equal(from_bytes(to_bytes(stored, KEYS[0]), KEYS[0]), stored)
    alone = StoredImage(stored.image)
    assert from_bytes(to_bytes(alone, KEYS[0]), KEYS[0]).latents is None


def test_memory_is_limited_and_the_least_used_goes_first() -> None:
    store = ResultStore(memory=3 * drawn().nbytes)
    for key in KEYS[:3]:
        store.put(key, drawn())
    store.get(KEYS[0])
    store.put(KEYS[3], drawn())
    assert [store.get(key) is not None for key in KEYS[:4]] == [True, False, True, True]


def test_more_of_the_same_image_is_added(tmp_path) -> None:
    for store in (ResultStore(), ResultStore(tmp_path)):
        store.put(KEYS[0], drawn(snapshots={0: drawn(1).image}))
        store.put(KEYS[0], drawn(snapshots={3: drawn(2).image}))
        assert sorted(store.get(KEYS[0]).snapshots) == [0, 3]
    assert sorted(ResultStore(tmp_path).get(KEYS[0]).snapshots) == [0, 3]


def test_a_second_store_reads_what_the_first_wrote(tmp_path) -> None:
    ResultStore(tmp_path).put(KEYS[0], drawn())
    assert equal(ResultStore(tmp_path).get(KEYS[0]), drawn())
    assert ResultStore(tmp_path).get(KEYS[1]) is None
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_the_folder_is_limited_and_the_least_used_goes_first(tmp_path) -> None:
    size = len(to_bytes(drawn(), KEYS[0]))
    store = ResultStore(tmp_path, limit=10 * size)
    for number, key in enumerate(KEYS[:10]):
        store.put(key, drawn())
        if file_of(tmp_path, key).exists():
            os.utime(file_of(tmp_path, key), (number, number))
    fresh = ResultStore(tmp_path, limit=10 * size)
    assert fresh.get(KEYS[1]) is not None  # used now
    fresh.put(KEYS[10], drawn())
    left = {path.stem for path in tmp_path.rglob("*.safetensors")}
    assert {KEYS[1], KEYS[10]} <= left
    assert KEYS[0] not in left
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 10 * size


@pytest.mark.parametrize("cut", [0, 3, 40, -7])
def test_a_cut_file_is_no_hit_and_is_removed(tmp_path, cut, caplog) -> None:
    ResultStore(tmp_path).put(KEYS[0], drawn())
    path = file_of(tmp_path, KEYS[0])
    path.write_bytes(path.read_bytes()[:cut])
    assert ResultStore(tmp_path).get(KEYS[0]) is None
    assert not path.exists()
    assert "this file of the cache is removed" in caplog.text


def test_any_flipped_bit_is_no_hit() -> None:
    data = to_bytes(drawn(), KEYS[0])
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 4
        try:
            found = from_bytes(bytes(damaged), KEYS[0])
        except (ValueError, KeyError):
            continue
        assert equal(found, drawn()), place


def test_the_file_of_another_key_or_version_is_no_hit(tmp_path, monkeypatch) -> None:
    data = to_bytes(drawn(), KEYS[0])
    with pytest.raises(ValueError, match="of another version, or of another image"):
        from_bytes(data, KEYS[1])
    from difflens_widgets.runs import stored_images

    monkeypatch.setattr(stored_images, "SCHEMA", 2)
    with pytest.raises(ValueError, match="of another version"):
        from_bytes(data, KEYS[0])


def test_a_folder_that_is_a_file_costs_one_line(tmp_path, caplog) -> None:
    place = tmp_path / "cache"
    place.write_text("mine")
    store = ResultStore(place)
    for key in KEYS[:3]:
        assert store.get(key) is None
        store.put(key, drawn())
        assert equal(store.get(key), drawn()), "memory goes on"
    assert caplog.text.count("the cache is not written to any more") == 1
    assert place.read_text() == "mine"


def test_a_full_disk_costs_one_line(tmp_path, caplog, monkeypatch) -> None:
    def full(self, data) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    store = ResultStore(tmp_path)
    for key in KEYS[:3]:
        store.put(key, drawn())
        assert store.get(key) is not None
    assert caplog.text.count("No space left on device") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_read_costs_one_line(tmp_path, caplog, monkeypatch) -> None:
    def forbidden(self) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    store = ResultStore(tmp_path)
    assert [store.get(key) for key in KEYS[:3]] == [None] * 3
    assert caplog.text.count("Permission denied") == 1


def test_processes_that_write_at_the_same_time(tmp_path) -> None:
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom PIL import Image\n"
        "from difflens_widgets.runs.result_store import ResultStore\n"
        "from difflens_widgets.runs.stored_images import StoredImage\n"
        f"keys = {KEYS!r}\nimage = StoredImage(Image.fromarray(np.full((16, 16, 3), 7, np.uint8)))\n"
        "store = ResultStore(Path(sys.argv[1]), limit=6000)\n"
        "for _ in range(3):\n"
        "    for key in keys:\n"
        "        store.put(key, image)\n"
        "        store.clear()\n"
        "        found = store.get(key)\n"
        "        assert found is None or found.image.tobytes() == image.image.tobytes()\n"
        "assert store.folder is not None\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE) for _ in "ab"]
    errors = [process.communicate(timeout=60)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert not any("removed" in error for error in errors), errors
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("where", ["off", "0", "OFF"])
def test_off(monkeypatch, where) -> None:
    monkeypatch.setenv("DIFFLENS_CACHE", where)
    assert result_store() is None


def test_where_the_environment_says(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("DIFFLENS_CACHE", "")
    assert result_store().folder is None
    monkeypatch.setenv("DIFFLENS_CACHE", str(tmp_path / "mine"))
    assert result_store().folder == tmp_path / "mine" / "v1"
    assert result_store() is result_store()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setenv("DIFFLENS_CACHE", "disk")
    assert result_store().folder == user_cache_folder() / "v1" == tmp_path / "difflens_widgets" / "v1"
    monkeypatch.setenv("DIFFLENS_CACHE_MB", "plenty")
    assert result_store() is not None
    assert "DIFFLENS_CACHE_MB: expected a whole number, got 'plenty'" in caplog.text
