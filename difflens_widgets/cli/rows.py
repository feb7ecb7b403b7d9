"""Row: a line of `difflens bench`, printed and, with ``--json``, written. Needs no torch."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from .._version import __version__
from ..runs.format.atomic_write import replacing

_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
    "playwright",
    "distributed",
)
# A forward of few rows takes 1.8 times as long with OMP_WAIT_POLICY=PASSIVE, on two cores.
_OPENMP = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "KMP_BLOCKTIME")


@dataclass(frozen=True)
class Row:
    """What a measurement says.

    Attributes
    ----------
    text : str
        The line to print.
    name, unit : str
        What was measured, and in which unit; "" where the line is only said.
    values : sequence of float
        Each repeat, in `unit`.
    figures : dict
        More figures, by name, which JSON can hold.
    """

    text: str
    name: str = ""
    unit: str = ""
    values: Sequence[float] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        """The row in types that JSON has."""
        found: dict[str, Any] = {"text": self.text}
        if self.name:
            found |= {"name": self.name, "unit": self.unit, **self.figures}
        if self.values:
            values = [float(f"{value:.6g}") for value in self.values]
            found |= {"median": median(values), "least": min(values), "most": max(values), "values": values}
        return found


def measured(
    name: str, values: Sequence[float], unit: str = "s", *, digits: int = 2, width: int = 16, note: str = ""
) -> Row:
    """The row of a repeated measurement: its median, and in brackets `note`, by default the least and the most."""
    note = note or f"least {min(values):.{digits}f}, most {max(values):.{digits}f}"
    text = f"{name:<{width}} median {median(values):7.{digits}f} {unit:<2}  ({note})"
    return Row(text, name, unit, values)


def peak_of_this_process() -> Row:
    """The most memory that this process had, from its start on."""
    name = "peak memory"
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return Row(f"{name}: not measured, this system does not tell")
    peak = getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return Row(f"{name:<16} {peak:14.0f} MB  (this process, from its start on)", name, "MB", [peak])


def write_json(path: Path, options: dict[str, Any], rows: Iterable[Row]) -> None:
    """Write the rows of a measurement with its `options`, the machine, the date and the versions of the libraries."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    about = {
        "options": options,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "environment": {name: value for name in _OPENMP if (value := os.environ.get(name)) is not None},
        },
        "versions": {"difflens_widgets": __version__, **versions},
        "rows": [row.as_json() for row in rows],
    }
    with replacing(path, "the figures") as file:
        file.write(json.dumps(about, ensure_ascii=False, indent=1).encode() + b"\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
