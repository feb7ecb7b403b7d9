"""Comparisons in files: everything comes back; what is damaged or hostile is refused with its name and the reason."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from difflens_widgets import Comparison, LensRun
from difflens_widgets.analysis.comparison import file as comparefile
from drawn_comparisons import DEPTH, drawn_comparison, tuned_run
from drawn_runs import assert_same, drawn_run
from lens_archives import pack, rewrite, unpack


@pytest.fixture
def saved(tmp_path):
    return drawn_comparison().save(tmp_path / "dog.lenses")


def refused(path, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        Comparison.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def change_record(path, change):
    def edit(entries):
        record = json.loads(entries["comparison.json"])
        change(record)
        entries["comparison.json"] = json.dumps(record).encode()

    return rewrite(path, edit)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("judged", [False, True])
def test_everything_comes_back(tmp_path, swapped, judged) -> None:
    comparison = drawn_comparison(swapped=swapped, judged=judged)
    loaded = Comparison.load(comparison.save(tmp_path / "a.lenses"))
    assert list(loaded.runs) == list(comparison.runs)
    for name, run in comparison.runs.items():
        assert_same(loaded.runs[name], run)
    assert loaded.cosines.tobytes() == comparison.cosines.tobytes()
    assert (loaded.normed, loaded.verdicts, loaded.judge) == (False, comparison.verdicts, comparison.judge)
    assert list(loaded.metrics) == list(comparison.metrics)
    for name, values in comparison.metrics.items():
        np.testing.assert_array_equal(loaded.metrics[name], values, err_msg=name)
    again = loaded.save(tmp_path / "b.lenses")
    assert again.read_bytes() == (tmp_path / "a.lenses").read_bytes()


def test_a_file_of_version_1_opens(tmp_path) -> None:
    """Written by the release before, which called swapped runs crossed; its runs are of version 1 as well."""
    old = Path(__file__).with_name("version1.lenses")
    record = json.loads(unpack(old)["comparison.json"])
    assert (record["version"], record["crossed"]) == ([1, 0], True)
    loaded = Comparison.load(old)
    assert [*loaded.runs] == ["raw", "tuned", "tuned-raw", "raw-tuned"]
    assert loaded.swapped["tuned", "raw"].settings["model"] == "encoder of tuned, U-Net of raw"
    assert loaded.raw.settings["num_inference_steps"] == 4
    assert (loaded.verdicts["tuned"], loaded.judge) == ({0: False, 1: True}, "SceneJudge(kinds)")
    np.testing.assert_allclose(loaded.metrics["latent_rms"], [1.0541279928338751, 1.5623748289303125], rtol=1e-12)
    again = Comparison.load(loaded.save(tmp_path / "new.lenses"))
    for name, values in loaded.metrics.items():
        np.testing.assert_array_equal(again.metrics[name], values, err_msg=name)
    record = json.loads(unpack(tmp_path / "new.lenses")["comparison.json"])
    assert (record["version"], record["swapped"], "crossed" in record) == ([2, 0], True, False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"crossed": None, "swapped": True}, "'crossed' is null, expected true or false"),
        ({"version": [2, 0]}, "'swapped' is missing, expected true or false"),
        ({"crossed": False}, "'raw-tuned.lens' is not part of its comparison"),
    ],
    ids=str,
)
def test_a_record_of_version_1_that_lies_is_refused(tmp_path, change, reason) -> None:
    old = tmp_path / "old.lenses"
    old.write_bytes(Path(__file__).with_name("version1.lenses").read_bytes())
    change_record(old, lambda record: record.update(change))
    refused(old, reason)


def test_without_states_there_are_no_cosines(tmp_path) -> None:
    bare = Comparison(replace(drawn_run(depth=DEPTH), states=None), replace(tuned_run(), states=None))
    loaded = Comparison.load(bare.save(tmp_path / "a.lenses"))
    assert loaded.cosines is None
    assert list(loaded.metrics) == ["latent_rms", "ssim"]


def test_it_opens_without_torch(saved) -> None:
    program = (
        "import sys; from difflens_widgets import Comparison; c = Comparison.load(sys.argv[1]); "
        "c.metrics; c.grid(); assert not {'torch', 'diffusers', 'transformers'} & {*sys.modules}; print(c)"
    )
    command = [sys.executable, "-c", program, str(saved)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "Comparison('a pink cat on a blue background', difflens-tiny → tuned, 3 layers, 2 × 2)\n"


def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path) -> None:
    comparison = drawn_comparison()
    comparison.tuned.images[0] = comparison.tuned.images[0].convert("L")
    with pytest.raises(ValueError, match=r"cannot save the comparison of 'a pink cat.*is L, RGB was expected"):
        comparison.save(tmp_path / "a.lenses")
    with pytest.raises(FileNotFoundError):
        drawn_comparison().save(tmp_path / "nowhere" / "a.lenses")
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path, saved) -> None:
    with pytest.raises(FileNotFoundError):
        Comparison.load(tmp_path / "none.lenses")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a file")
    refused(drawn_run(depth=1).save(tmp_path / "run.lens"), "'images/0.webp' has a name")
    with pytest.raises(ValueError, match=r"has a name that a \.lens file never has"):
        LensRun.load(saved)
    data = saved.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 0):
        saved.write_bytes(data[:length])
        refused(saved, "truncated|empty")


@pytest.mark.parametrize("name", ["../raw.lens", "/raw.lens", "a/raw.lens", "raw.lens ", "raw.py", "RAW.lens"])
def test_names_that_lead_elsewhere_are_refused(saved, name) -> None:
    rewrite(saved, lambda entries: entries.update({name: b"x"}))
    refused(saved, "has a name that a .lens file never has")


@pytest.mark.parametrize("name", ["comparison.json", "raw.lens", "tuned-raw.lens", "cosines.safetensors"])
def test_a_missing_entry_is_named(saved, name) -> None:
    rewrite(saved, lambda entries: entries.pop(name))
    refused(saved, f"entry '{name}' is missing")


def test_a_run_in_it_is_read_with_the_same_suspicion(saved) -> None:
    inner = saved.with_name("raw.lens")
    inner.write_bytes(unpack(saved)["raw.lens"])
    rewrite(inner, lambda entries: entries.update({"../evil.webp": b"x"}))
    rewrite(saved, lambda entries: entries.update({"raw.lens": inner.read_bytes()}))
    refused(saved, r"entry 'raw.lens': entry '\.\./evil.webp' has a name")
    rewrite(saved, lambda entries: entries.update({"raw.lens": b"PK"}))
    refused(saved, "entry 'raw.lens': this is not a zip file")


def test_a_run_that_would_unpack_to_more_than_the_file_is_refused(saved) -> None:
    entries = unpack(saved)
    entries["raw.lens"] = entries["raw.lens"] + os.urandom(2**18) + bytes(2**22)
    pack(saved, entries, zipfile.ZIP_DEFLATED)
    refused(saved, "'raw.lens' declares .* bytes, at most")


def test_a_link_is_refused(saved) -> None:
    info = zipfile.ZipInfo("other.lens")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(saved, "'other.lens' is a link")


def test_an_entry_that_no_comparison_names_is_refused_unless_it_is_newer(saved) -> None:
    rewrite(saved, lambda entries: entries.update({"more.json": b"{}"}))
    refused(saved, "entry 'more.json' is not part of its comparison")
    change_record(saved, lambda record: record.update(version=[2, 7]))
    assert Comparison.load(saved).judge


def test_runs_that_do_not_belong_together_are_refused(saved, tmp_path) -> None:
    other = replace(tuned_run(), seed=1).save(tmp_path / "other.lens").read_bytes()
    rewrite(saved, lambda entries: entries.update({"tuned.lens": other}))
    refused(saved, "tuned: its seed is '1', expected that of raw, '0'")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "zip"}, "does not describe a comparison"),
        ({"version": [3, 0]}, r"'version' is \[3, 0\].*a newer difflens_widgets"),
        ({"version": [1]}, "'version' is"),
        ({"swapped": 1}, "'swapped' is 1, expected true or false"),
        ({"swapped": False}, "'raw-tuned.lens' is not part of its comparison"),
        ({"normed": None}, "'normed' is null"),
        ({"cosines": [2**19, 2**19]}, "'cosines' is .*, expected"),
        ({"cosines": "all"}, "'cosines'"),
        ({"judge": 3}, "'judge' is 3, expected text"),
        ({"verdicts": {"other": []}}, "'verdicts' are of other runs"),
        ({"verdicts": {"raw": [[0, 1]]}}, "'verdicts' of 'raw' is not a list"),
        ({"verdicts": {"raw": [[7, True]]}}, "'verdicts' of 'raw' is not a list"),
        ({"verdicts": {"tuned": {"0": True}}}, "'verdicts' of 'tuned' is not a list"),
        ({"verdicts": 3}, "'verdicts' is 3, expected an object"),
    ],
    ids=str,
)
def test_a_record_that_lies_is_refused(saved, change, reason) -> None:
    change_record(saved, lambda record: record.update(change))
    refused(saved, reason)


@pytest.mark.parametrize(("of", "cut"), [(["tuned"], np.s_[..., :1]), (["raw", "tuned"], np.s_[:, :2])])
def test_states_that_cannot_be_compared_are_refused(saved, tmp_path, of, cut) -> None:
    runs = {"raw": drawn_run(depth=DEPTH), "tuned": tuned_run()}
    for name in of:
        runs[name].states = np.ascontiguousarray(runs[name].states[cut])
        data = runs[name].save(tmp_path / f"{name}.lens").read_bytes()
        rewrite(saved, lambda entries, name=name, data=data: entries.update({f"{name}.lens": data}))
    change_record(saved, lambda record: record.update(cosines=None))
    rewrite(saved, lambda entries: entries.pop("cosines.safetensors"))
    refused(saved, "states: those of tuned have the shape|cosines: have the shape")


def test_cosines_that_are_none_are_refused(saved) -> None:
    shape = (DEPTH, len(drawn_run(depth=DEPTH).tokens))
    for array, reason in (
        (np.full(shape, 2.0), "holds values that are no cosines"),
        (np.zeros((1, 1)), "expected F32"),
    ):
        data = safetensors.numpy.save({"cosines": array.astype("f4")})
        rewrite(saved, lambda entries, data=data: entries.update({"cosines.safetensors": data}))
        refused(saved, reason)
    assert comparefile.VERSION == (2, 0)


def test_a_damaged_file_is_read_or_refused_and_nothing_else(saved) -> None:
    """Single bytes changed anywhere, most of them where the names, sizes and records stand."""
    whole, rng = saved.read_bytes(), np.random.default_rng(0)
    record = whole.index(b'"format"')
    places = [*rng.integers(0, len(whole), 60), *(len(whole) - rng.integers(1, 600, 60))]
    places += [*(record + rng.integers(0, 600, 60))]
    outcomes = set()
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        saved.write_bytes(damaged)
        try:
            Comparison.load(saved)
            outcomes.add("read")
        except ValueError as error:
            outcomes.add("refused" if str(error).startswith(f"{saved}: ") else str(error))
    assert outcomes == {"read", "refused"}
