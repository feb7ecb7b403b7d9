"""Temporary changes to a user's pipeline, which are undone at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def dtype_restored(module: Any, meanwhile: torch.dtype | None = None) -> Iterator[None]:
    """Restore the dtype of `module` at the end, also after an error; `meanwhile`: cast it to this one first."""
    before = module.dtype
    if meanwhile is not None and meanwhile != before:
        module.to(meanwhile)
    try:
        yield
    finally:
        if module.dtype != before:
            module.to(before)


@contextmanager
def quiet(pipe: Any) -> Iterator[None]:
    """Hide the pipeline's own progress bar, then restore the user's setting."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)
