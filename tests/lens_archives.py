"""Take .lens files apart and put them together again, changed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from difflens_widgets.runs.run import LensRun

Entries = dict[str, bytes]


def unpack(path: Path | io.BytesIO) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, entries: Entries, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def rewrite(path: Path, change: Callable[[Entries], Any]) -> Path:
    """Change some entries of a file."""
    entries = unpack(path)
    change(entries)
    return pack(path, entries)


def rewrite_record(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change run.json of a file."""

    def edit(entries: Entries) -> None:
        record = json.loads(entries["run.json"])
        change(record)
        entries["run.json"] = json.dumps(record).encode()

    return rewrite(path, edit)


def refused(path: Path, reason: str) -> str:
    """The file is refused with a ValueError that names it and the reason; returns the message."""
    with pytest.raises(ValueError, match=reason) as caught:
        LensRun.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def as_version_1(record: dict[str, Any], minor: int) -> None:
    """Put a run.json of today into the words of version 1.`minor`, which had fewer parts."""
    record["version"] = [1, minor]
    names = {"num_inference_steps": "steps", "method": "question", "batch_size": "chunk", "text_encoder": "encoder"}
    record["settings"] = {names.get(name, name): value for name, value in record["settings"].items()}
    kinds = {"bos": "start", "eos": "end"}
    for token in record["tokens"]:
        token["joined"] = token.pop("is_continuation")
        token["kind"] = kinds.get(token["kind"], token["kind"])
    masks = record.pop("token_masks")
    if minor >= 1:
        record["kept"] = [{"token": mask["token"], "places": mask["positions"]} for mask in masks]
    else:
        del record["token_images"], record["token_failures"]
    if minor < 2:
        del record["attention"]
