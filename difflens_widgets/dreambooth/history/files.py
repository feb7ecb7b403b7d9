"""The files of a training history, read and written piece by piece. Needs no torch.

    training.json                   format, version, model, model_hash, validation_prompts, config
    status.json                     running, done, stopped or failed, and why
    losses.jsonl                    one line for each logged step; a number that is not finite is null
    alarms.json                     the alarms raised so far
    epochs/000050/prompt_00.lens    the lens run of validation prompt 0 after epoch 50, see `runs.format.lens_file`
    epochs/000050/weights/          the trained weights, for the epochs that keep them

All but losses.jsonl appear under their names only when they are complete. A killed process can leave half a last line
in losses.jsonl: reading leaves it out, and the next writing removes it. Other files in the folder are left alone.
Version 1 of the format (see `legacy`) is read too.
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
from .events import Alarm, Role, ValidationPrompt
from .legacy import upgrade_alarm, upgrade_training

FORMAT = "difflens-training"
VERSION = (2, 0)
TRAINING, STATUS, LOSSES, ALARMS, EPOCHS = "training.json", "status.json", "losses.jsonl", "alarms.json", "epochs"
MAX_EPOCH = 999_999_999
MAX_STEP = 2**53
MAX_PROMPTS = 100
_MAX_ALARMS = 10_000
_MAX_BYTES = 2**28  # of one text file
_EPOCH_NAME = re.compile(r"[0-9]{6,9}")
_RUN_NAME = re.compile(r"(?:prompt|probe)_([0-9]{2})\.lens")

LossRow = dict[str, float]


def epoch_folder(folder: Path, epoch: int) -> Path:
    """The folder with everything of an epoch."""
    return folder / EPOCHS / f"{epoch:06d}"


def lens_file(folder: Path, epoch: int, index: int) -> Path:
    """The file of the run of a validation prompt; under its old name if that is there and the new one is not."""
    place = epoch_folder(folder, epoch)
    path, old = place / f"prompt_{index:02d}.lens", place / f"probe_{index:02d}.lens"
    return old if old.exists() and not path.exists() else path


def epoch_folders(folder: Path) -> list[Path]:
    """The folders of all epochs; folders with other names are left out."""
    places = [place for place in (folder / EPOCHS).glob("*") if _EPOCH_NAME.fullmatch(place.name)]
    return [place for place in places if place.name == f"{int(place.name):06d}"]


def stored_runs(folder: Path, prompts: int) -> dict[int, set[int]]:
    """Which of the `prompts` validation prompts have a file, for each epoch that has one."""
    found: dict[int, set[int]] = {}
    for place in epoch_folders(folder):
        indices = {int(match[1]) for file in place.glob("*.lens") if (match := _RUN_NAME.fullmatch(file.name))}
        if indices := {index for index in indices if index < prompts}:
            found[int(place.name)] = indices
    return found


# -- training.json and status.json


def write_training(
    folder: Path, config: dict[str, Any], model: str, model_hash: str, prompts: Sequence[ValidationPrompt]
) -> None:
    """Begin a history, or replace what training.json says."""
    check_plain(config, "config")
    about = {"format": FORMAT, "version": list(VERSION), "model": model, "model_hash": model_hash}
    content = {**about, "validation_prompts": [asdict(prompt) for prompt in prompts], "config": config}
    _write(folder / TRAINING, content)


def read_training(folder: Path) -> Fields:
    """Read training.json and check its format and version; `read_prompts` and others check the rest."""
    path = folder / TRAINING
    root = _read(path)
    if root.get("format") != FORMAT:
        raise ValueError(f"{path}: describes no training: its 'format' is not {FORMAT!r}")
    version = root.integers("version", 0, 1_000_000, at_most=2)
    if len(version) != 2 or version[0] not in (1, VERSION[0]):
        raise ValueError(
            f"{path}: has format version {'.'.join(map(str, version))}, but this difflens_widgets reads the versions "
            f"1 and {VERSION[0]}: a later version needs a newer difflens_widgets"
        )
    return Fields(upgrade_training(root.values), str(path)) if version[0] == 1 else root


def read_prompts(root: Fields) -> tuple[ValidationPrompt, ...]:
    """The validation prompts of training.json."""
    return tuple(
        ValidationPrompt(
            item.text("prompt"),
            item.choice("role", get_args(Role)),  # type: ignore[arg-type]  # it is one of them
            item.integer("seed_offset", 0, MAX_PROMPTS),
        )
        for item in root.items("validation_prompts", MAX_PROMPTS)
    )


def check_prompts(prompts: Sequence[ValidationPrompt]) -> None:
    """Refuse no validation prompts, too many, and duplicates.

    Raises
    ------
    ValueError
    """
    names = [prompt.name for prompt in prompts]
    if not 1 <= len(names) <= MAX_PROMPTS:
        raise ValueError(f"validation_prompts: {len(names)} were given, 1 to {MAX_PROMPTS} are possible")
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"validation_prompts: {twice!r} is there twice, give each prompt once")


def write_status(folder: Path, status: Status, message: str) -> None:
    """Record the status of the training."""
    _write(folder / STATUS, {"status": status, "message": message})


def read_status(folder: Path) -> tuple[Status, str]:
    """The status of the training; one that did not record its end is "stopped"."""
    status = "running"
    if (folder / STATUS).exists():
        root = _read(folder / STATUS)
        status, message = root.choice("status", get_args(Status)), root.text("message")
    if status == "running":
        return "stopped", "the training was broken off, or still runs in another process"
    return status, message  # type: ignore[return-value]  # it is one of them


# -- alarms.json


def write_alarms(folder: Path, alarms: Sequence[Alarm]) -> None:
    """Replace the stored alarms."""
    _write(folder / ALARMS, {"alarms": [asdict(alarm) for alarm in alarms]})


def read_alarms(folder: Path) -> list[Alarm]:
    """The alarms raised so far."""
    path = folder / ALARMS
    if not path.exists():
        return []
    alarms = []
    for number, entry in enumerate(_read(path).items("alarms", _MAX_ALARMS)):
        item = Fields(upgrade_alarm(entry.values), f"{path}: 'alarms' number {number}")
        alarms.append(
            Alarm(
                kind=item.text("kind"),
                epoch=item.integer("epoch", 0, MAX_EPOCH),
                layer=item.integer("layer", 0, 4_096),
                validation_prompt=item.integer("validation_prompt", 0, MAX_PROMPTS),
                message=item.text("message"),
            )
        )
    return alarms


# -- losses.jsonl


def loss_row(step: int, epoch: int, values: Mapping[str, float]) -> LossRow:
    """The row of one logged step, checked."""
    row: LossRow = {"step": step, "epoch": epoch}
    for name, value in values.items():
        if type(name) is not str or name in row:
            raise ValueError(f"values: the name {name!r} is wrong, it must be text other than 'step' and 'epoch'")
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
    """Replace all rows."""
    with replacing(folder / LOSSES, "the losses") as file:
        file.writelines(map(_loss_line, rows))


def read_losses(folder: Path) -> list[LossRow]:
    """All complete lines, in ascending order of steps."""
    path = folder / LOSSES
    if not path.exists():
        return []
    lines = _bytes_of(path).split(b"\n")[:-1]  # after the last line end is at most half a line of a killed process
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
    """Remove half a last line of a file that is open for appending, and go to its end."""
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
        raise ValueError(f"{where}: {name!r} is {type(value).__name__}, expected a number or null")
    return float(value)


# -- any of them


def _write(path: Path, content: Any) -> None:
    with replacing(path, f"{path.name} of the training") as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode("ascii") + b"\n")


def _read(path: Path) -> Fields:
    return parse(_bytes_of(path), str(path))


def _bytes_of(path: Path) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # reading a pipe would wait for ever
        raise ValueError(f"{path}: this is not a file")
    if about.st_size > _MAX_BYTES:
        raise ValueError(f"{path}: has {about.st_size:,} bytes, at most {_MAX_BYTES:,} are read")
    return path.read_bytes()
