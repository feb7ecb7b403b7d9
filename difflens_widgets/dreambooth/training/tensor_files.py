"""Files and folders of tensors that appear under their name only when they are complete."""

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
    """Read what `save_tensors` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or is none of these.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or no file of a training: {error}") from None


@contextlib.contextmanager
def replacing_folder(path: Path, what: str) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends without an error.

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
