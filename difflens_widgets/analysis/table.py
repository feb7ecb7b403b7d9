"""EmergenceTable: which pictures of many prompts and seeds were judged right, and what follows for each layer.

The JSON file of an experiment has version 2; version 1 is read too (`EmergenceTable.settings` in the old words).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.format.atomic_write import replacing
from ..runs.format.legacy import upgrade_settings
from ..runs.render.figure import AS_IT_IS
from ..runs.render.grid import columns_for
from .axes import BLUE, LAYER_LABEL, ORANGE, finish, layer_axis, new_figure
from .emergence import first_to_stay
from .intervals import Median, median_interval, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 2
NEVER = np.inf


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class EmergenceTable:
    """The verdicts of an experiment.

    Attributes
    ----------
    layers : tuple of int
        In ascending order, up to the last layer of the text encoder.
    seeds : tuple of int
    prompts : dict of task → tuple of str
    verdicts : dict of task → bool array (prompts, seeds, layers)
    judges : dict of task → str
        The judges' descriptions.
    settings : dict
        Those of the pictures, as in `LensRun.settings`.
    """

    layers: tuple[int, ...]
    seeds: tuple[int, ...]
    prompts: dict[str, tuple[str, ...]]
    verdicts: dict[str, np.ndarray]
    judges: dict[str, str]
    settings: dict[str, Any]

    def shares(self, task: str) -> np.ndarray:
        """Share of pictures judged right: float64 (layer, 3), the share and both ends of its 95 % Wilson interval.

        The interval assumes that all pictures are independent. Those of one prompt are not fully so; the interval of
        `median` takes that into account.
        """
        verdicts = self._of(task).reshape(-1, len(self.layers))
        n = len(verdicts)
        return np.array([(right / n, *wilson(int(right), n)) for right in verdicts.sum(0)])

    def emergence(self, task: str) -> np.ndarray:
        """Layer at which each run emerges: float64 (prompts, seeds), infinite where the last layer is not right."""
        verdicts = self._of(task)
        runs = verdicts.reshape(-1, len(self.layers))
        found = [first_to_stay(dict(zip(self.layers, run, strict=True))) for run in runs]
        return np.array([NEVER if layer is None else layer for layer in found], dtype=float).reshape(verdicts.shape[:2])

    def counts(self, task: str) -> dict[int | None, int]:
        """How many runs emerge at each layer; None: never."""
        found = self.emergence(task)
        return {**{layer: int((found == layer).sum()) for layer in self.layers}, None: int(np.isinf(found).sum())}

    def median(self, task: str) -> Median:
        """Median layer of emergence with its 95 % interval, resampled by prompt; infinite where it is "never"."""
        return median_interval(self.emergence(task))

    def plot(self) -> Figure:
        """Draw for each task, over the layers, the share judged right and where runs emerge."""
        return plot_emergence(self)

    def save(self, path: str | Path) -> Path:
        """Write all verdicts and settings as JSON; the file appears under its name only when it is complete."""
        verdicts = {
            (task, prompt, seed): self.verdicts[task][i, j]
            for task, prompts in self.prompts.items()
            for i, prompt in enumerate(prompts)
            for j, seed in enumerate(self.seeds)
        }
        return write_verdicts(Path(path), self.layers, self.seeds, self.prompts, self.judges, self.settings, verdicts)

    @classmethod
    def load(cls, path: str | Path) -> EmergenceTable:
        """Read a file of `save`, or of a finished experiment.

        Raises
        ------
        ValueError
            If it is no such file, or the experiment is not finished: the same call of `emergence_table` continues it.
        """
        content = read_verdicts(Path(path))
        prompts = {name: tuple(task["prompts"]) for name, task in content["tasks"].items()}
        return cls.of(
            tuple(content["layers"]),
            tuple(content["seeds"]),
            prompts,
            {name: task["judge"] for name, task in content["tasks"].items()},
            content["settings"],
            verdicts_in(content),
            str(path),
        )

    @classmethod
    def of(
        cls,
        layers: tuple[int, ...],
        seeds: tuple[int, ...],
        prompts: dict[str, tuple[str, ...]],
        judges: dict[str, str],
        settings: dict[str, Any],
        verdicts: dict[tuple[str, str, int], np.ndarray],
        name: str,
    ) -> EmergenceTable:
        """Make a table of single verdicts; an error calls the experiment `name`.

        Raises
        ------
        ValueError
            If verdicts are missing.
        """
        arrays = {}
        for task, texts in prompts.items():
            keys = [(task, text, seed) for text in texts for seed in seeds]
            missing = sum(key not in verdicts for key in keys)
            if missing:
                raise ValueError(f"{name}: not finished, {missing} runs of the task {task!r} are missing")
            arrays[task] = np.array([verdicts[key] for key in keys]).reshape(len(texts), len(seeds), len(layers))
        return cls(layers, seeds, prompts, arrays, judges, settings)

    def _of(self, task: str) -> np.ndarray:
        if task not in self.verdicts:
            raise ValueError(f"task: {task!r} is none of {', '.join(map(repr, self.verdicts))}")
        return self.verdicts[task]

    def __str__(self) -> str:
        names = list(self.prompts)
        width = max(16, *(len(name) + 2 for name in names))
        medians = [self.median(name) for name in names]
        shares = [self.shares(name) for name in names]
        counts = [self.counts(name) for name in names]
        runs = [str(self.verdicts[name][..., 0].size) for name in names]

        def line(head: str, cells: list[str]) -> str:
            return (f"{head:<8}" + "".join(f"{cell:>{width}}" for cell in cells)).rstrip()

        rows = ["Pictures judged right, in percent [95 % Wilson interval]", line("layer", names)]
        for i, layer in enumerate(self.layers):
            rows.append(line(str(layer), [_percent(*share[i]) for share in shares]))
        rows += ["", "Runs by layer of emergence: right from there to the last layer", line("layer", names)]
        for key in (*self.layers, None):
            rows.append(line("never" if key is None else str(key), [str(count[key]) for count in counts]))
        rows += [
            line("runs", runs),
            line("median", [_layers(*median) for median in medians]),
            "median [95 % bootstrap interval, prompts drawn with all their seeds]; a run that never emerges is at ∞",
        ]
        return "\n".join(rows)


def plot_emergence(table: EmergenceTable) -> Figure:
    """Draw for each task the share judged right with its interval, and where the runs emerge."""
    tasks = list(table.prompts)
    columns = min(columns_for(len(tasks)), 4)
    rows = math.ceil(len(tasks) / columns)
    figure, panels = new_figure(3.2 * columns, 2.7 * rows + 0.6, columns=columns, count=len(tasks))
    layers = np.array(table.layers)
    for index, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        share, low, high = 100 * table.shares(task).T
        counts = table.counts(task)
        runs = sum(counts.values())
        bars = [100 * counts[layer] / runs for layer in table.layers]
        axes.bar(layers, bars, color=ORANGE, alpha=0.45, width=0.8, label="emerges here")
        axes.fill_between(layers, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(layers, share, color=BLUE, linewidth=2, marker="o", markersize=3, label="judged right")
        median = table.median(task).value
        if np.isfinite(median):
            axes.axvline(median, color=ORANGE, linewidth=1, linestyle="--", label="median emergence")
        axes.set_title(f"{task} (n = {runs})", fontsize=9, color="0.25", **AS_IT_IS)
        axes.set_ylim(0, 100)
        layer_axis(axes, layers, LAYER_LABEL if index >= len(tasks) - columns else "")
        if index % columns == 0:
            axes.set_ylabel("runs (%)")
    panels[0].legend(fontsize=7, frameon=False, loc="upper left")
    settings = table.settings
    caption = " · ".join(
        [
            f"{settings.get('model')}, {settings.get('num_inference_steps')} steps, "
            f"guidance {settings.get('guidance_scale')}",
            f"{len(table.seeds)} seeds a prompt",
            "bands: 95 % Wilson intervals",
            "emerges: right from there to the last layer; no dashed line: the median run never does",
        ]
    )
    return finish(figure, "What the layers of the text encoder show", caption)


def _percent(share: float, low: float, high: float) -> str:
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _layers(value: float, low: float, high: float) -> str:
    texts = ["∞" if np.isinf(layer) else f"{layer:g}" for layer in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def write_verdicts(
    path: Path,
    layers: tuple[int, ...],
    seeds: tuple[int, ...],
    prompts: dict[str, tuple[str, ...]],
    judges: dict[str, str],
    settings: dict[str, Any],
    verdicts: dict[tuple[str, str, int], np.ndarray],
) -> Path:
    """Write an experiment as JSON, finished or not: each run as a text such as "0011", or null if not judged yet."""

    def of_run(task: str, prompt: str, seed: int) -> str | None:
        found = verdicts.get((task, prompt, seed))
        return None if found is None else "".join("01"[int(yes)] for yes in found)

    tasks = {
        task: {
            "judge": judges[task],
            "prompts": texts,
            "verdicts": [[of_run(task, text, seed) for seed in seeds] for text in texts],
        }
        for task, texts in prompts.items()
    }
    content = {"emergence_schema": SCHEMA, "settings": settings, "layers": layers, "seeds": seeds, "tasks": tasks}
    with replacing(path, "the table of emergence") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
    return path


def read_verdicts(path: Path) -> dict[str, Any]:
    """Read the content of such a file; settings of version 1 get the words of today.

    Raises
    ------
    ValueError
        If it is not the table of an experiment, or its version is not known.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no table of emergence: {error}") from None
    version = content.get("emergence_schema") if isinstance(content, dict) else None
    if version not in (1, SCHEMA):
        raise ValueError(f"{path}: no table of emergence, or of another version than 1 and {SCHEMA}")
    return {**content, "settings": upgrade_settings(content["settings"])} if version == 1 else content


def verdicts_in(content: dict[str, Any]) -> dict[tuple[str, str, int], np.ndarray]:
    """Return the single verdicts, bool (layer,), by task, prompt and seed."""
    return {
        (name, prompt, seed): np.array([mark == "1" for mark in marks])
        for name, task in content["tasks"].items()
        for prompt, row in zip(task["prompts"], task["verdicts"], strict=True)
        for seed, marks in zip(content["seeds"], row, strict=True)
        if marks is not None
    }
