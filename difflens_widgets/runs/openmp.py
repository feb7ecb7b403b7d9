"""A thread that only waits shall not keep OpenMP threads: torch would slow down the thread that computes."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

_SOFT = 1  # omp_pause_soft: the threads come back when this thread computes again


def release_threads() -> None:
    """Give up the calling thread's team of OpenMP threads, where it has one; a no-op without OpenMP 5.

    GNU's OpenMP, which torch's Linux packages bring, counts the threads of all teams. If these are more than there are
    processors, threads no longer spin at the end of a loop but sleep, and each of a U-Net's small operations waits for
    them to wake. A notebook's main thread has a team since it loaded the model: a lens run in the background then took
    1.3 times as long on two cores (`difflens bench lens` measures it).
    """
    try:
        pause = ctypes.CDLL(None).omp_pause_resource_all
    except (AttributeError, OSError, TypeError):  # no OpenMP that knows it; TypeError: Windows
        return
    if status := pause(_SOFT):
        log.debug("omp_pause_resource_all returned %d", status)
