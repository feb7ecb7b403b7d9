"""The units of a sweep, one prompt from one seed each, and their files in its folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...runs.format.atomic_write import replacing
from ...runs.run import LensRun
from ..emergence import first_to_stay
from ..metrics import latent_rms, picture_ssim

log = logging.getLogger(__name__)

COLUMNS = ("prompt", "seed", "layer", "right", "emerges", "latent_rms", "ssim", "seconds", "failure", "unit")


@dataclass(frozen=True)
class Unit:
    """One run of the lens; `id` depends on all that decides its pictures."""

    prompt: str
    seed: int
    id: str


def unit_of(prompt: str, seed: int, content: Mapping[str, Any]) -> Unit:
    """The unit of a prompt and seed; `content` is what else decides the pictures, in types that JSON has."""
    text = json.dumps([prompt, seed, content], sort_keys=True, default=str)
    return Unit(prompt, seed, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32])


class UnitFiles:
    """The files of units in the folder of a sweep: ``runs/ID.lens``, ``units/ID.json``, ``failed/ID.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs, self._units, self._failed = folder / "runs", folder / "units", folder / "failed"
        for each in (self._runs, self._units, self._failed):
            each.mkdir(parents=True, exist_ok=True)

    def run_path(self, unit: Unit) -> Path:
        """Where the unit's pictures are."""
        return self._runs / f"{unit.id}.lens"

    def read(self, unit: Unit) -> dict[str, Any] | None:
        """The measures of a finished unit; None if it is not finished, or its files are damaged."""
        path = self._units / f"{unit.id}.json"
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            log.warning("%s: damaged; its pictures are generated again", path)
            return None
        known = isinstance(content, dict) and {"rows", "judge"} <= content.keys()
        return content if known and self.run_path(unit).is_file() else None

    def write(self, unit: Unit, content: bytes, measures: Mapping[str, Any]) -> None:
        """Write the pictures, then the measures; the unit is finished when these are there."""
        with replacing(self.run_path(unit), f"the run of {unit.prompt[:40]!r}") as file:
            file.write(content)
        self.write_measures(unit, measures)

    def write_measures(self, unit: Unit, measures: Mapping[str, Any]) -> None:
        """Write the measures of a unit whose pictures are there."""
        self._write(self._units / f"{unit.id}.json", measures)
        (self._failed / f"{unit.id}.json").unlink(missing_ok=True)

    def write_failure(self, unit: Unit, error: str) -> None:
        """Record why a unit failed."""
        self._write(self._failed / f"{unit.id}.json", {"prompt": unit.prompt, "seed": unit.seed, "error": error})

    def failure(self, unit: Unit) -> str | None:
        """Why a unit failed; None if it did not."""
        try:
            return str(json.loads((self._failed / f"{unit.id}.json").read_text("utf-8"))["error"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def load(self, unit: Unit) -> LensRun:
        """Read the run of a finished unit."""
        return LensRun.load(self.run_path(unit))

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        with replacing(path, "a unit of the sweep") as file:
            file.write(json.dumps(content, ensure_ascii=True).encode())


def measures_of(run: LensRun, verdicts: Mapping[int, bool], judge: str, seconds: float) -> dict[str, Any]:
    """The measures of a run, as its JSON file keeps them: one row for each layer, against the last one requested."""
    last = max(run.layers)
    emerges = first_to_stay(verdicts) if verdicts else None
    images = run.images
    rows = [
        {
            "layer": layer,
            "right": verdicts.get(layer),
            "emerges": emerges,
            "latent_rms": _finite(latent_rms(run.latents.get(layer), run.latents.get(last))),
            "ssim": None if {layer, last} & run.flagged else _finite(picture_ssim(images.get(layer), images.get(last))),
            "failure": run.failures.get(layer),
        }
        for layer in sorted(run.layers)
    ]
    return {"judge": judge, "seconds": round(seconds, 3), "rows": rows}


def rows_of(unit: Unit, measures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a finished unit, with all columns."""
    for row in measures["rows"]:
        about = {"prompt": unit.prompt, "seed": unit.seed, "seconds": measures.get("seconds"), "unit": unit.id}
        yield {name: {**row, **about}.get(name) for name in COLUMNS}


def _finite(value: float) -> float | None:
    return value if value == value else None
