"""The thread that only waits gives its OpenMP threads back, and can compute again."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, time, torch
from difflens_widgets.runs.openmp import release_threads
def threads():
    return len(os.listdir("/proc/self/task"))
torch.set_num_threads(2)
numbers = torch.arange(4_000_000.0)
numbers.sin()
before = threads()
release_threads()
knows = hasattr(ctypes.CDLL(None), "omp_pause_resource_all")
until = time.monotonic() + 20
while knows and threads() == before and time.monotonic() < until:  # they end by themselves, on a busy machine later
    time.sleep(0.01)
print(knows, before - threads(), float(numbers.cos()[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_the_team_is_gone_and_comes_back() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    assert told in (["True", "1", "1.0"], ["False", "0", "1.0"])
