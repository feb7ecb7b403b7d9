"""What only the main process of a training does: the others wait for it, and its errors reach them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

PATIENCE = InitProcessGroupKwargs(timeout=timedelta(days=2))
"""The others wait while the main process paints, for hours with a large model; the usual limit is 10 or 30 minutes."""


@contextmanager
def in_main_process(accelerator: Accelerator) -> Iterator[bool]:
    """Run a block of which only the main process does the work, told by the value; all processes leave it together.

    Raises
    ------
    RuntimeError
        In the other processes, if the main one failed: else they would wait for it without end.
    """
    failed = True
    try:
        yield accelerator.is_main_process
        failed = False
    finally:
        if accelerator.num_processes > 1:
            flag = torch.tensor([float(failed)], device=accelerator.device)
            anywhere = bool(accelerator.reduce(flag, "sum").item() > 0)
        else:
            anywhere = failed
    if anywhere:
        raise RuntimeError("another process of this training failed; its own message says why")
