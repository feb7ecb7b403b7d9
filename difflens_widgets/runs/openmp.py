"""Releases the OpenMP threads of a thread that only waits: torch would slow down the thread that computes."""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

_SOFT = 1  # omp_pause_soft: the threads come back when this thread computes again


def release_threads() -> None:
    """Release the OpenMP threads of the calling thread, if it has any; does nothing without OpenMP 5.

    GNU's OpenMP, which is part of torch's Linux packages, counts the threads of all teams. If there are more of them
    than processors, threads no longer spin at the end of a loop but sleep, and each small operation of a U-Net waits
    until they wake up. A notebook's main thread has had a team since it loaded the model: a lens run in the background
    then took 1.3 times as long on two cores (`difflens bench lens` measures it).
    """
    try:
        pause = ctypes.CDLL(None).omp_pause_resource_all
    except (AttributeError, OSError, TypeError):  # no OpenMP with this function; TypeError: Windows
        return
    if status := pause(_SOFT):
        log.debug("omp_pause_resource_all returned %d", status)
