"""Damaged files give a run or a ValueError, whatever the damage; any run that can be saved can be read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difflens_widgets.runs.run import LensRun
from drawn_runs import assert_same, attention_run, drawn_run, picture
from lens_archives import pack, unpack


def outcome(path: Path, data: bytes) -> str:
    """ "read" or "refused"; any other exception than a ValueError goes through."""
    path.write_bytes(data)
    try:
        run = LensRun.load(path)
    except ValueError as error:
        return "refused" if str(error).startswith(f"{path}: ") else f"refused without its name: {error}"
    if run.attention is not None:  # what is read can be looked at
        for layer in run.attention:
            for place in (token.index for token in run.tokens if token.kind != "pad"):
                run.attention.heatmap(place, layer=layer)
    return "read" if isinstance(run, LensRun) else f"read as {type(run)}"


def test_damaged_bytes_give_a_run_or_a_value_error(tmp_path: Path) -> None:
    """Thousands of seeded flips, cuts, insertions and swaps, most of them in headers and directory."""
    path = replace(drawn_run(depth=2, size=16), snapshots={(0, 1): picture(3, 16)}).save(tmp_path / "a.lens")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    directory = data.index(b"PK\x01\x02")
    outcomes: Counter[str] = Counter()
    for round_ in range(1_500):
        damaged = bytearray(data)
        at = int(rng.integers(directory, len(data)) if round_ % 2 else rng.integers(len(data)))
        match round_ % 5:
            case 0:
                damaged[at] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[at : at + 4] = rng.bytes(4)
            case 2:
                damaged[at : at + 4] = b"\xff\xff\xff\xff"
            case 3:
                del damaged[at : at + int(rng.integers(1, 40))]
            case 4:
                damaged[at:at] = rng.bytes(int(rng.integers(1, 40)))
        outcomes[outcome(path, bytes(damaged))] += 1
    assert set(outcomes) <= {"read", "refused"}
    assert outcomes["refused"] > 1_000  # the damage is real: checksums and checks notice nearly all of it


def test_damage_inside_the_entries_gives_a_run_or_a_value_error(tmp_path: Path) -> None:
    """As above with checksums made right again: the readers of JSON, WebP and safetensors are reached."""
    path = attention_run(size=16, snapshots={}, states=drawn_run(depth=3).states).save(tmp_path / "a.lens")
    entries = unpack(path)
    rng = np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    for round_ in range(1_500):
        name = list(entries)[round_ % len(entries)]
        damaged = bytearray(entries[name])
        at = int(rng.integers(min(len(damaged), 200 if round_ % 3 else len(damaged))))
        damaged[at : at + int(rng.integers(1, 4))] = rng.bytes(int(rng.integers(0, 4)))
        outcomes[outcome(path, pack(path, {**entries, name: bytes(damaged)}).read_bytes())] += 1
    assert set(outcomes) <= {"read", "refused"}
    assert outcomes["refused"] > 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_in_any_field_gives_a_run_or_a_value_error(tmp_path: Path, data: st.DataObject) -> None:
    path = attention_run(size=16, snapshots={}).save(tmp_path / "a.lens")
    entries = unpack(path)
    record = json.loads(entries["run.json"])
    place: Any = record
    while True:  # walk to some place of the record, and put something else there
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    entries["run.json"] = json.dumps(record).encode()
    assert outcome(path, pack(path, entries).read_bytes()) in ("read", "refused")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=st.text(st.characters(codec=None)),
    plain=st.dictionaries(st.text(), PLAIN, max_size=4),
    seed=st.integers(-(2**63), 2**64 - 1),
)
def test_any_prompt_and_settings_come_back(tmp_path: Path, prompt: str, plain: dict[str, Any], seed: int) -> None:
    run = drawn_run(prompt, depth=1, size=8, snapshots={}, settings=plain, seed=seed)
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)
