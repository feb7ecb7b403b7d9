"""Freed memory stays with a worker process: to get it back from the system takes as long as the computation."""

from __future__ import annotations

import ctypes
import logging
import os

log = logging.getLogger(__name__)

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_MMAP_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Undo the environment variable ``MALLOC_TRIM_THRESHOLD_``, if this process was started with it.

    Dask starts its workers with 64 KiB, so that they return what they free. Each layer of a U-Net allocates and frees
    megabytes, and the system clears every page that it gives: half of a unit's time (`difflens bench sweep`). Without
    the variable, glibc raises both thresholds by itself, up to these values.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; TypeError: Windows
        return
    if not (mallopt(_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_TRIM_THRESHOLD, 2 * _MMAP_BYTES)):
        log.debug("mallopt refused")
