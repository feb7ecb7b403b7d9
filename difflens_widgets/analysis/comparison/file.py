"""A Comparison in one file: a zip of JSON, a ``.lens`` file for each run, and the cosines. No torch, no pickle.

Entries: ``comparison.json``, ``raw.lens``, ``tuned.lens``, with attribution ``tuned-raw.lens`` and ``raw-tuned.lens``
(encoder, U-Net), and ``cosines.safetensors``. This zip, and each zip in it, is checked as a ``.lens`` file is.

Version 2.0 is written. Version 1 is read too: there "swapped" was called "crossed".
"""

from __future__ import annotations

import io
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from ...runs.format import lens_file, zip_archive
from ...runs.format.atomic_write import replacing
from ...runs.format.json_fields import Fields, parse
from ...runs.format.run_json import MAX_LAYERS
from ...runs.run import LensRun

FORMAT = "difflens-comparison"
VERSION = (2, 0)
_NEWEST = {1: 0, 2: 0}  # of each major version that is read, the newest minor one known here
_ENTRY, _COSINES = "comparison.json", "cosines.safetensors"
_NAMES = re.compile(r"[a-z0-9_-]{1,40}\.(json|lens|safetensors)")
_MAX_RECORD_BYTES = 2**20
SWAPPED = (("tuned", "raw"), ("raw", "tuned"))
"""Whose encoder with whose U-Net, besides raw and tuned themselves."""


class ComparisonFields(Protocol):
    """The parts of a Comparison that its file holds."""

    raw: LensRun
    tuned: LensRun
    swapped: dict[tuple[str, str], LensRun]
    cosines: npt.NDArray[np.float32] | None
    normed: bool
    verdicts: dict[str, dict[int, bool]]
    judge: str

    @property
    def prompt(self) -> str:
        """The prompt of both."""

    @property
    def runs(self) -> dict[str, LensRun]:
        """All runs by name."""


def save(comparison: ComparisonFields, path: Path) -> Path:
    """Write a comparison; see `Comparison.save`."""
    what = f"the comparison of {lens_file.brief(comparison.prompt)}"
    try:
        entries = list(_entries(comparison))  # an error comes before anything is written
        with replacing(path, what) as file:
            zip_archive.write(file, entries)
    except ValueError as error:
        raise ValueError(f"{path}: cannot save {what}: {error}") from error
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a comparison as the arguments of `Comparison`; see `Comparison.load`."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would wait for ever; a folder fails in open()
        raise ValueError(f"{path}: this is not a file")
    try:
        with path.open("rb") as file:
            return _read(zip_archive.Archive(file, _NAMES), path.stat().st_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _entries(comparison: ComparisonFields) -> Iterator[tuple[str, bytes]]:
    cosines = comparison.cosines
    record = {
        "format": FORMAT,
        "version": list(VERSION),
        "swapped": bool(comparison.swapped),
        "normed": comparison.normed,
        "cosines": None if cosines is None else list(cosines.shape),
        "judge": comparison.judge,
        "verdicts": {name: [[k, yes] for k, yes in of_run.items()] for name, of_run in comparison.verdicts.items()},
    }
    data = json.dumps(record, indent=1, allow_nan=False).encode("ascii")
    _parse(data)
    yield _ENTRY, data
    for name, run in comparison.runs.items():
        yield f"{name}.lens", lens_file.to_bytes(run)
    if cosines is not None:
        yield _COSINES, safetensors.numpy.save({"cosines": np.ascontiguousarray(cosines, dtype=np.float32)})


def _read(archive: zip_archive.Archive, size: int) -> dict[str, Any]:
    root = _parse(archive.read(_ENTRY, _MAX_RECORD_BYTES))
    major, minor = root.integers("version", 0, 1_000_000, at_most=2)
    pairs = SWAPPED if root.flag("swapped" if major > 1 else "crossed") else ()
    names = ["raw", "tuned", *("-".join(pair) for pair in pairs)]
    known = {_ENTRY, *(f"{name}.lens" for name in names), *([_COSINES] if root.get("cosines") is not None else [])}
    unknown = archive.names - known
    if unknown and minor <= _NEWEST[major]:
        raise ValueError(f"entry {min(unknown)!r} is not part of its comparison")
    runs = {}
    for name in names:
        # pictures and tensors are compressed already: no run is larger than the file that holds it
        data = archive.read(f"{name}.lens", size)
        try:
            runs[name] = LensRun(**lens_file.read(io.BytesIO(data)))
        except ValueError as error:
            raise ValueError(f"entry '{name}.lens': {error}") from error
    cosines = None
    if root.get("cosines") is not None:
        shape = (runs["raw"].num_layers, len(runs["raw"].tokens))
        found = tuple(root.integers("cosines", 1, 2**20, at_most=2))
        if found != shape:
            raise ValueError(f"{_ENTRY}: 'cosines' is {list(found)}, expected {list(shape)}, as its runs have")
        cosines = lens_file.read_arrays(archive, _COSINES, {"cosines": shape}, "F32")["cosines"]
        if not (np.isnan(cosines) | (np.abs(cosines) <= 1)).all():
            raise ValueError(f"entry {_COSINES!r}: holds values that are no cosines, which are -1..1")
    verdicts = {name: _verdicts(root, name, runs["raw"].layers) for name in root.mapping("verdicts")}
    return {
        "raw": runs["raw"],
        "tuned": runs["tuned"],
        "swapped": {pair: runs["-".join(pair)] for pair in pairs},
        "cosines": cosines,
        "normed": root.flag("normed"),
        "verdicts": verdicts,
        "judge": root.text("judge"),
    }


def _parse(data: bytes) -> Fields:
    root = parse(data, _ENTRY)
    if root.get("format") != FORMAT:
        raise ValueError(f"{_ENTRY} does not describe a comparison: its 'format' is not {FORMAT!r}")
    version = root.integers("version", 0, 1_000_000, at_most=2)
    if len(version) != 2 or version[0] not in _NEWEST:
        raise ValueError(
            f"{_ENTRY}: 'version' is {version}, this difflens_widgets reads the versions 1 and 2; a newer one is read "
            "by a newer difflens_widgets (pip install -U difflens-widgets)"
        )
    if not {*root.mapping("verdicts")} <= {"raw", "tuned"}:
        raise ValueError(f"{_ENTRY}: 'verdicts' are of other runs than raw and tuned")
    return root


def _verdicts(root: Fields, name: str, layers: tuple[int, ...]) -> dict[int, bool]:
    value: Any = root.child("verdicts").get(name)
    pairs: list[Any] = value if isinstance(value, list) and len(value) <= MAX_LAYERS else [None]
    for pair in pairs:
        known = isinstance(pair, list) and [type(each) for each in pair] == [int, bool] and pair[0] in layers
        if not known:
            raise ValueError(f"{_ENTRY}: 'verdicts' of {name!r} is not a list of a layer of the run and true or false")
    return dict(pairs)
