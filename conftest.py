"""The surroundings of every test, notebook kernels and browser servers included, and which tests run when."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

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


_TUTORIAL_LIMIT = 1_300  # MB that the kernel of a tutorial may take at its peak: Binder gives 2 GB for all
_tutorials: dict[Path, list[float]] = {}  # notebook → seconds of its cells, MB at its kernel's peak (0: not known)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Note what each cell of a notebook took."""
    if call.when == "call" and (peak := _kernel_peak(item)) is not None:
        found = _tutorials.setdefault(item.path, [0.0, 0.0])
        found[0] += call.duration
        found[1] = max(found[1], peak)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, None]:
    """After a notebook's last cell: fail if its kernel took too much memory."""
    yield
    peak = _tutorials.get(item.path, [0.0, 0.0])[1]
    if peak > _TUTORIAL_LIMIT and (nextitem is None or nextitem.path != item.path):
        pytest.fail(f"{item.path.name} took {peak:.0f} MB at its peak; Binder has room for {_TUTORIAL_LIMIT}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each notebook."""
    if _tutorials:
        terminalreporter.section("tutorials: seconds of all cells, peak memory of the kernel, size of the file")
    for path, (seconds, peak) in sorted(_tutorials.items()):
        memory = f"{peak:5.0f} MB" if peak else "  unknown"
        terminalreporter.write_line(f"{path.stem:32}{seconds:6.0f} s{memory:>10}{path.stat().st_size / 1000:6.0f} KB")


def _kernel_peak(item: pytest.Item) -> float | None:
    """MB at the peak of the kernel in which nbval runs a cell: 0 where no /proc tells it, None for no cell."""
    kernel = getattr(item.parent, "kernel", None)
    if kernel is None or item.path.suffix != ".ipynb":
        return None
    try:
        status = Path(f"/proc/{kernel.km.provisioner.pid}/status").read_text("utf-8")
    except OSError:
        return 0.0
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1000
