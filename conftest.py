"""The surroundings of every test, notebook kernels and browser servers included, and which tests run when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SURROUNDINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin make a busy two-core machine 4 to 10 times slower
    "OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)),  # the same arithmetic on a laptop as in CI
    "HF_HUB_OFFLINE": "1",  # no test may depend on the network
    "TQDM_DISABLE": "1",  # (bars in notebook kernels are widgets and stay)
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's start-up advice
    "DIFFLENS_CACHE": "off",  # a test that counts forwards must not be given another one's images
    "TOKENIZERS_PARALLELISM": "false",
}

for _name, _value in _SURROUNDINGS.items():  # before anything imports torch
    os.environ.setdefault(_name, _value)

_TESTS = Path(__file__).parent / "tests"

# What can break with the versions of torch, diffusers, transformers, peft, Pillow or ipywidgets: folders and files of
# tests/. A single test elsewhere is marked where it stands.
_VERSIONS = (
    "lens",
    "models",
    "attention",
    "runs/format",
    "widgets",
    "dreambooth/training/test_loss.py",
    "cli/test_cli.py",
    "test_imports.py",
)
# Toy trainings, and commands that measure the machine.
_SLOW = (
    "cli/test_bench_attention.py",
    "dreambooth/training/test_training.py",
    "tiny/evaluation/test_experiments.py",
    "tiny/training/test_stages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the folder or file that they are in."""
    for item in items:
        if not item.path.is_relative_to(_TESTS):
            continue  # a notebook
        name = item.path.relative_to(_TESTS).as_posix()
        exempt = item.get_closest_marker("versions") is not None  # it is quick enough to run with all versions
        for marker, paths in (("versions", _VERSIONS), ("slow", () if exempt else _SLOW)):
            if any(name == path or name.startswith(f"{path}/") for path in paths):
                item.add_marker(marker)
