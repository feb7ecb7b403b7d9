"""Sweep: the runs of many prompts and seeds, their measures as a table, and what they show layer by layer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runs.format.atomic_write import replacing
from ...runs.run import LensRun
from ..axes import BLUE, LAYER_LABEL, finish, layer_axis, new_figure
from ..intervals import mean_interval, wilson
from .units import COLUMNS, Unit, UnitFiles, rows_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SCHEMA = 1
MANIFEST, TABLE = "sweep.json", "measures.parquet"
INSTALL = 'pip install "difflens_widgets[sweep]"'


@dataclass(frozen=True, eq=False)
class Sweep:
    """The result of `sweep`; every picture is in its folder, as the ``.lens`` file of its run.

    Attributes
    ----------
    folder : Path
    prompts : tuple of str
    seeds : tuple of int
    layers : tuple of int
        In ascending order.
    settings : dict
        Those of all runs, as in `LensRun.settings`.
    judge : str
        The judge's description; "" without one.
    failures : dict of (prompt, seed) → str
        Why a run failed; the same call of `sweep` tries it again.
    """

    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    layers: tuple[int, ...]
    settings: dict[str, Any]
    judge: str
    failures: dict[tuple[str, int], str]
    _units: Mapping[tuple[str, int], Unit] = field(repr=False)
    _rows: list[dict[str, Any]] = field(repr=False)

    def table(self) -> pandas.DataFrame:
        """One row for each layer of each run, as in ``measures.parquet``.

        Returns
        -------
        pandas.DataFrame
            With the columns prompt, seed, layer, right (whether the judge accepts the picture; missing without a
            judge), emerges (the first layer from which all pictures of the run are right; missing if none), latent_rms
            and ssim (against the last layer of the run, in units of the latents, and -1..1), seconds (of the whole
            run), failure (why there is no picture), unit (the name of the run's file).

        Raises
        ------
        ImportError
            If pandas is not installed: it comes with the extra `sweep`.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(f"Sweep.table needs pandas: {INSTALL}") from None
        kinds = {"right": "boolean", "emerges": "Int64", "latent_rms": "float64", "ssim": "float64"}
        return pandas.DataFrame(self._rows, columns=list(COLUMNS)).astype({**kinds, "seconds": "float64"})

    def run(self, prompt: str, seed: int) -> LensRun:
        """Read the run of a prompt and seed.

        Raises
        ------
        ValueError
            If the sweep has no such run, or it failed.
        """
        if (prompt, seed) in self.failures:
            raise ValueError(f"{prompt!r} from seed {seed} failed: {self.failures[prompt, seed]}")
        if (prompt, seed) not in self._units:
            raise ValueError(f"the sweep has no run of {prompt!r} from seed {seed!r}")
        return UnitFiles(self.folder).load(self._units[prompt, seed])

    def shares(self) -> np.ndarray:
        """Share of pictures judged right: float64 (layer, 3), the share and both ends of its 95 % Wilson interval.

        Raises
        ------
        ValueError
            If the sweep has no judge.
        """
        if not self.judge:
            raise ValueError("judge: this sweep has none; call sweep again with judge=, nothing is generated twice")
        shares = []
        for layer in self.layers:
            found = [bool(row["right"]) for row in self._rows if row["layer"] == layer]
            shares.append((sum(found) / len(found) if found else np.nan, *wilson(sum(found), len(found))))
        return np.array(shares)

    def similarity(self) -> np.ndarray:
        """SSIM to the run's last layer: float64 (layer, 3), the mean and both ends of its 95 % interval.

        The seeds of one prompt are averaged first: only prompts are independent.
        """
        values: dict[tuple[str, int], list[float]] = {}
        for row in self._rows:
            if row["ssim"] is not None:
                values.setdefault((row["prompt"], row["layer"]), []).append(row["ssim"])
        found = []
        for layer in self.layers:
            means = [np.mean(values[prompt, layer]) for prompt in self.prompts if (prompt, layer) in values]
            interval = mean_interval(means) if means else (np.nan,) * 3
            found.append(tuple(float(value) for value in interval))
        return np.clip(found, -1, 1)  # with few prompts the interval is wider than what SSIM can be

    def curve(self) -> np.ndarray:
        """What `plot` draws: float64 (layer, 3), the value and both ends of its 95 % interval.

        The share judged right, 0..100 %; without a judge the SSIM to the last layer.
        """
        return 100 * self.shares() if self.judge else self.similarity()

    def plot(self) -> Figure:
        """Draw over the layers the share judged right, or without a judge the SSIM to the last layer."""
        middle, low, high = self.curve().T
        figure, (axes,) = new_figure(6.4, 3.8)
        layers = np.array(self.layers)
        axes.fill_between(layers, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(layers, middle, color=BLUE, linewidth=2, marker="o", markersize=3)
        axes.set_ylabel("pictures judged right (%)" if self.judge else "SSIM to the last layer")
        if self.judge:
            axes.set_ylim(0, 100)
        layer_axis(axes, layers, LAYER_LABEL)
        settings = self.settings
        caption = ["draft"] if settings.get("quality") == "draft" else []
        caption += [
            f"{len(self.prompts)} prompts, {len(self.seeds)} seed{'s' * (len(self.seeds) > 1)} each, "
            f"{len(self.failures)} runs failed",
            f"{settings.get('model')}, {settings.get('num_inference_steps')} steps, "
            f"guidance {settings.get('guidance_scale')}",
            f"band: 95 % {'Wilson interval' if self.judge else 'interval of the mean over prompts'}",
        ]
        return finish(figure, "What the layers of the text encoder show", " · ".join(caption))

    @classmethod
    def load(cls, folder: str | Path) -> Sweep:
        """Read the sweep in a folder: what the latest call asked for, as far as it is finished.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If its description is damaged, or of a newer version.
        """
        path = Path(folder) / MANIFEST
        try:
            content = json.loads(path.read_text("utf-8"))
            if content["sweep_schema"] != SCHEMA:
                raise ValueError(f"{path}: of version {content['sweep_schema']}, expected {SCHEMA}")
            units = [Unit(str(prompt), int(seed), str(name)) for prompt, seed, name in content["units"]]
            return cls.of(Path(folder), units, content["layers"], content["settings"], content["judge"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: not the description of a sweep: {error!r}") from None

    @classmethod
    def of(
        cls, folder: Path, units: Iterable[Unit], layers: Iterable[int], settings: dict[str, Any], judge: str
    ) -> Sweep:
        """The sweep of some units, from their files."""
        files = UnitFiles(folder)
        by_key: dict[tuple[str, int], Unit] = {}
        failures: dict[tuple[str, int], str] = {}
        rows: list[dict[str, Any]] = []
        for unit in units:
            by_key[unit.prompt, unit.seed] = unit
            measures = files.read(unit)
            if measures is not None:
                rows += rows_of(unit, measures)
            else:
                failures[unit.prompt, unit.seed] = files.failure(unit) or "not generated yet"
        prompts = tuple(dict.fromkeys(prompt for prompt, _ in by_key))
        seeds = tuple(dict.fromkeys(seed for _, seed in by_key))
        return cls(folder, prompts, seeds, tuple(layers), settings, judge, failures, by_key, rows)

    def write(self) -> None:
        """Write ``sweep.json`` and, if pyarrow is installed, ``measures.parquet``."""
        content = {
            "sweep_schema": SCHEMA,
            "settings": self.settings,
            "judge": self.judge,
            "layers": self.layers,
            "units": [[unit.prompt, unit.seed, unit.id] for unit in self._units.values()],
        }
        with replacing(self.folder / MANIFEST, "the sweep") as file:
            file.write(json.dumps(content).encode())
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            return
        numbers = {name: pyarrow.int64() for name in ("seed", "layer", "emerges")}
        reals = {name: pyarrow.float64() for name in ("latent_rms", "ssim", "seconds")}
        kinds = {**numbers, **reals, "right": pyarrow.bool_()}
        schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
        with replacing(self.folder / TABLE, "the measures of the sweep") as file:
            parquet.write_table(pyarrow.Table.from_pylist(self._rows, schema), file)

    def __repr__(self) -> str:
        done = len(self._units) - len(self.failures)
        return f"Sweep({str(self.folder)!r}, {done} of {len(self._units)} runs)"
