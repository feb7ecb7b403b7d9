"""A worker that Dask started keeps the memory that it frees."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from difflens_widgets.runs.malloc import keep_freed_memory
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        numbers = torch.ones(2 << 20)  # one at a time: glibc keeps two of the largest block by itself, and no more
        del numbers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts the page faults of glibc's malloc")
@pytest.mark.parametrize("threshold", ["65536", None])
def test_memory_is_not_taken_from_the_system_twice(threshold: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {} if threshold is None else {"MALLOC_TRIM_THRESHOLD_": threshold}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    before, after = map(int, told)
    if threshold is None:  # glibc does so by itself, and is left alone
        assert before < 2000
    else:
        assert before > 20_000  # 20 times 8 MiB, 4 KiB each
    assert after < 2000
