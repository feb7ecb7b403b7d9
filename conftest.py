"""The surroundings of every test, notebook kernels and browser servers included: they inherit this environment."""

from __future__ import annotations

import os

_SURROUNDINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin make a busy two-core machine 4 to 10 times slower
    "OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)),  # the same arithmetic on a laptop as in CI
    "HF_HUB_OFFLINE": "1",  # no test may depend on the network
    "TQDM_DISABLE": "1",  # (bars in notebook kernels are widgets and stay)
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's start-up advice
    "TOKENIZERS_PARALLELISM": "false",
}

for _name, _value in _SURROUNDINGS.items():  # before anything imports torch
    os.environ.setdefault(_name, _value)
