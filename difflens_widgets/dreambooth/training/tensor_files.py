"""Files and folders of tensors; they appear under their names only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path, what: str) -> None:
    """Write a safetensors file with `facts` as JSON in its header.

    Raises
    ------
    OSError
        If it cannot be written (a full disk, say); a file that was there stays.
    """
    temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}.part")
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with _cleared(temporary, path, what):
        save_file(ready, temporary, metadata={"facts": json.dumps(facts)})
        os.replace(temporary, path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `save_tensors` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, or was written by something else.
    """
    with _opened(path) as (file, facts):
        return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118 (not a dict)


def check_tensors(path: Path) -> dict[str, Any]:
    """Read all of a file that `save_tensors` wrote, one tensor at a time, and return its facts.

    Raises
    ------
    ValueError
        As `load_tensors`.
    """
    with _opened(path) as (file, facts):
        for key in file.keys():  # noqa: SIM118 (not a dict)
            file.get_tensor(key)
        return facts


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            if not isinstance(facts, dict):
                raise ValueError("its facts are no object")
            yield file, facts
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or not a file of a training: {error}") from None


@contextlib.contextmanager
def replacing_folder(path: Path, what: str) -> Iterator[Path]:
    """A temporary folder next to `path` that replaces it when the block ends without an error.

    Raises
    ------
    OSError
        Naming `path` and `what`; what was there before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}-{secrets.token_hex(4)}.part")
    with _cleared(temporary, path, what):
        temporary.mkdir()
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)


@contextlib.contextmanager
def _cleared(temporary: Path, path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        code = getattr(error, "errno", None) or errno.EIO
        raise OSError(code, f"cannot save {what}: {getattr(error, 'strerror', None) or error}", str(path)) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                temporary.unlink()
