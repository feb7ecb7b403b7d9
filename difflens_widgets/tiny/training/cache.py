"""What takes minutes to compute with a model, kept for the next run with the same weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def cached(
    folder: Path, name: str, model: nn.Module, made_from: bytes | memoryview, compute: Callable[[], Tensor]
) -> Tensor:
    """What `compute` gives, kept in `folder` under a name that changes with the weights and with `made_from`."""
    digest = hashlib.sha256(made_from)
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    path = folder / f"{name}-{digest.hexdigest()[:12]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        save_file({name: compute().contiguous()}, aside)
        os.replace(aside, path)
    return load_file(path)[name]
