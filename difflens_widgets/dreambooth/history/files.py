"""The files of a training history, read and written piece by piece. Needs no torch.

    training.json                   format, version, model, model_hash, probes, config; written once
    status.json                     running, done, stopped or failed, and why
    losses.jsonl                    one line for each logged step; a number that is not finite is null
    alarms.json                     the alarms raised so far
    epochs/000050/probe_00.lens     probe number 0 painted after epoch 50, see `lensfile`
    epochs/000050/weights/          what was trained, where it is kept

All but losses.jsonl appear under their names only when they are complete; of losses.jsonl a killed process can leave
half a last line, which reading leaves out and the next writing cuts off. Other files in the folder are left alone.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from ...runs.events import Status
from ...runs.format.atomic_write import replacing
from ...runs.format.json_fields import Fields, check_plain, parse
from .events import Alarm, Probe, Role

FORMAT = "difflens-training"
VERSION = (1, 0)
TRAINING, STATUS, LOSSES, ALARMS, EPOCHS = "training.json", "status.json", "losses.jsonl", "alarms.json", "epochs"
MAX_EPOCH = 999_999_999
MAX_STEP = 2**53
MAX_PROBES = 100
_MAX_ALARMS = 10_000
_MAX_BYTES = 2**28  # of one text file
_EPOCH_NAME = re.compile(r"[0-9]{6,9}")
_PROBE_NAME = re.compile(r"probe_([0-9]{2})\.lens")

LossRow = dict[str, float]


def epoch_folder(folder: Path, epoch: int) -> Path:
    """Where everything of an epoch stands."""
    return folder / EPOCHS / f"{epoch:06d}"


def lens_file(folder: Path, epoch: int, probe: int) -> Path:
    """Where the run of a probe stands."""
    return epoch_folder(folder, epoch) / f"probe_{probe:02d}.lens"


def epoch_folders(folder: Path) -> list[Path]:
    """The folders of all epochs; what has another name there is none."""
    places = [place for place in (folder / EPOCHS).glob("*") if _EPOCH_NAME.fullmatch(place.name)]
    return [place for place in places if place.name == f"{int(place.name):06d}"]


def painted(folder: Path, probes: int) -> dict[int, set[int]]:
    """Which of so many probes there are files of, for each epoch."""
    found: dict[int, set[int]] = {}
    for place in epoch_folders(folder):
        numbers = {int(match[1]) for file in place.glob("*.lens") if (match := _PROBE_NAME.fullmatch(file.name))}
        if numbers := {number for number in numbers if number < probes}:
            found[int(place.name)] = numbers
    return found


# -- training.json and status.json


def write_training(folder: Path, config: dict[str, Any], model: str, model_hash: str, probes: Sequence[Probe]) -> None:
    """Begin a history."""
    check_plain(config, "config")
    about = {"format": FORMAT, "version": list(VERSION), "model": model, "model_hash": model_hash}
    _write(folder / TRAINING, {**about, "probes": [asdict(probe) for probe in probes], "config": config})


def read_training(folder: Path) -> Fields:
    """Read training.json; what it says of itself is checked, the fields are left to `read_probes` and others."""
    root = _read(folder / TRAINING)
    if root.get("format") != FORMAT:
        raise ValueError(f"{folder / TRAINING}: describes no training: its 'format' is not {FORMAT!r}")
    version = root.integers("version", 0, 1_000_000, at_most=2)
    if len(version) != 2 or version[0] != VERSION[0]:
        raise ValueError(
            f"{folder / TRAINING}: has format version {'.'.join(map(str, version))}, this difflens_widgets reads "
            f"version {VERSION[0]}: where it is a later one, a newer difflens_widgets is needed"
        )
    return root


def read_probes(root: Fields) -> tuple[Probe, ...]:
    """The probes of training.json."""
    return tuple(
        Probe(item.text("prompt"), item.choice("role", get_args(Role)), item.integer("noise", 0, MAX_PROBES))  # type: ignore[arg-type]
        for item in root.items("probes", MAX_PROBES)
    )


def check_probes(probes: Sequence[Probe]) -> None:
    """Refuse too few, too many, and one that is there twice."""
    prompts = [probe.name for probe in probes]
    if not 1 <= len(prompts) <= MAX_PROBES:
        raise ValueError(f"probes: {len(prompts)} were given, 1 to {MAX_PROBES} would be right")
    twice = next((prompt for index, prompt in enumerate(prompts) if prompt in prompts[:index]), None)
    if twice is not None:
        raise ValueError(f"probes: {twice!r} is there twice, each prompt once would be right")


def write_status(folder: Path, status: Status, message: str) -> None:
    """Say how the training stands."""
    _write(folder / STATUS, {"status": status, "message": message})


def read_status(folder: Path) -> tuple[Status, str]:
    """How the training stands; one that never said so, or died while it ran, was broken off."""
    status = "running"
    if (folder / STATUS).exists():
        root = _read(folder / STATUS)
        status, message = root.choice("status", get_args(Status)), root.text("message")
    if status == "running":
        return "stopped", "the training was broken off, or still goes on elsewhere"
    return status, message  # type: ignore[return-value]  # one of them


# -- alarms.json


def write_alarms(folder: Path, alarms: Sequence[Alarm]) -> None:
    """Keep these alarms, and no others."""
    _write(folder / ALARMS, {"alarms": [asdict(alarm) for alarm in alarms]})


def read_alarms(folder: Path) -> list[Alarm]:
    """The alarms raised so far."""
    if not (folder / ALARMS).exists():
        return []
    items = _read(folder / ALARMS).items("alarms", _MAX_ALARMS)
    return [
        Alarm(
            kind=item.text("kind"),
            epoch=item.integer("epoch", 0, MAX_EPOCH),
            layer=item.integer("layer", 0, 4_096),
            probe=item.integer("probe", 0, MAX_PROBES),
            message=item.text("message"),
        )
        for item in items
    ]


# -- losses.jsonl


def loss_row(step: int, epoch: int, values: Mapping[str, float]) -> LossRow:
    """One logged step, checked."""
    row: LossRow = {"step": step, "epoch": epoch}
    for name, value in values.items():
        if type(name) is not str or name in row:
            raise ValueError(f"values: the name {name!r} is wrong, a text other than 'step' and 'epoch' would be right")
        row[name] = float(value)
    if "loss" not in row:
        raise ValueError(f"values: {sorted(row)} has no 'loss'")
    return row


def append_loss(folder: Path, row: LossRow) -> None:
    """Add one line; after an error the file is as it was."""
    line = _loss_line(row)
    path = folder / LOSSES
    try:
        with path.open("ab+") as file:
            _cut_half_line(file)
            size = file.tell()
            try:
                file.write(line)
                file.flush()
            except OSError:
                os.truncate(path, size)
                raise
    except OSError as error:
        raise OSError(
            error.errno, f"cannot log step {int(row['step'])}: {error.strerror or error}", str(path)
        ) from error


def write_losses(folder: Path, rows: Sequence[LossRow]) -> None:
    """Keep these rows, and no others."""
    with replacing(folder / LOSSES, "the losses") as file:
        file.writelines(map(_loss_line, rows))


def read_losses(folder: Path) -> list[LossRow]:
    """All complete lines; steps climb."""
    path = folder / LOSSES
    if not path.exists():
        return []
    lines = _bytes_of(path).split(b"\n")[:-1]  # what follows the last line's end is the half line of a killed process
    rows: list[LossRow] = []
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        root = parse(line, where)
        row: LossRow = {"step": root.integer("step", 1, MAX_STEP), "epoch": root.integer("epoch", 0, MAX_EPOCH)}
        for name in root.names:
            if name not in row:
                row[name] = _number(root.get(name), name, where)
        if "loss" not in row:
            raise ValueError(f"{where}: 'loss' is missing")
        if rows and row["step"] <= rows[-1]["step"]:
            raise ValueError(f"{where}: step {row['step']} does not follow step {rows[-1]['step']}")
        rows.append(row)
    return rows


def _loss_line(row: LossRow) -> bytes:
    plain = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(plain, allow_nan=False).encode("ascii") + b"\n"


def _cut_half_line(file: Any) -> None:
    """Bring a file that was opened for appending to the end of its last complete line."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 65_536)
    file.seek(start)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _number(value: Any, name: str, where: str) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise ValueError(f"{where}: {name!r} is {type(value).__name__}, a number or null was expected")
    return float(value)


# -- any of them


def _write(path: Path, content: Any) -> None:
    with replacing(path, f"{path.name} of the training") as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode("ascii") + b"\n")


def _read(path: Path) -> Fields:
    return parse(_bytes_of(path), str(path))


def _bytes_of(path: Path) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever
        raise ValueError(f"{path}: this is not a file")
    if about.st_size > _MAX_BYTES:
        raise ValueError(f"{path}: has {about.st_size:,} bytes, at most {_MAX_BYTES:,} are read")
    return path.read_bytes()
