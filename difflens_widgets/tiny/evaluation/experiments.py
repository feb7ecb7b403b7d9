"""The course project's three experiments on the embedded model.

``python -m difflens_widgets.tiny.evaluation.experiments`` runs them.

1. Layer evolution: the shipped training, with the lens on its validation prompts at every 25th epoch.
2. Raw against tuned: several prompts and seeds through all layers, and all four pairs of text encoder and U-Net.
3. Concept alignment: the cosine of the rare word and its class before and after training, with controls; of several
   trainings with ``--trainings``.

The tutorials 07 to 09 draw what this writes. All results stay in the work folder, so the same command continues after
it was killed. The results say nothing about larger models.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...analysis.comparison.compare import compare
from ...analysis.sweep.engine import processes
from ...analysis.sweep.runner import Runner
from ...analysis.sweep.units import Unit, unit_of
from ...analysis.sweep.worker import Recipe
from ...dreambooth.config import DreamBoothConfig
from ...dreambooth.history import files
from ...dreambooth.history.history import TrainingHistory
from ...dreambooth.training.checkpoint import require_same
from ...dreambooth.training.trainer import train_dreambooth
from ...lens.diffusion_lens import DiffusionLens
from ...models import checks
from ...models.sampling_defaults import chosen_or_default
from ...models.weight_hash import weight_hash
from ...runs.format.atomic_write import replacing
from ..judge import Judge
from . import dreambooth_results as results

SCHEMA = 2
CONFIG = "train_dog_dreambooth_with_lens.yaml"


def experiments(
    config: DreamBoothConfig,
    work: Path,
    *,
    trainings: int = 1,
    seeds: int = 3,
    steps: int = 8,
    executor: Executor | Callable[[], Executor] | None = None,
) -> tuple[dict[str, Any], Image.Image]:
    """Train and measure.

    Parameters
    ----------
    config : DreamBoothConfig
        Of the first training, which is validated with the lens. The others have the next seeds and the same class
        images, and no validation.
    work : Path
        Gets the trainings; one that is there already is resumed.
    trainings : int
        How many; only experiment 3 uses all.
    seeds, steps : int
        Seeds of each prompt, and denoising steps, of experiment 2.
    executor : concurrent.futures.Executor, or a function that makes one, optional
        As in `sweep`, for all trainings but the first and for experiment 2.

    Returns
    -------
    numbers : dict
        For JSON.
    sheet : PIL.Image
        The images of the first training: epochs across, layers down.

    Raises
    ------
    ValueError
        For numbers that are not possible, or a work folder with other trainings or those of another model.
    OSError
        If something cannot be read or written.
    """
    for name, value in (("trainings", trainings), ("seeds", seeds), ("steps", steps)):
        checks.as_int(name, value, at_least=1)
    raw, judge = DiffusionLens.from_pretrained(config.pretrained_model_name_or_path, device=config.device), Judge.load()
    model_hash = weight_hash(raw.pipe)
    configs = []
    for number in range(trainings):
        unwatched: dict[str, Any] = {} if number == 0 else {"use_diffusion_lens": False, "keep_epoch_weights": False}
        seed = config.seed + number
        folders: dict[str, Any] = {"output_dir": str(work / f"seed-{seed}"), "class_data_dir": str(work / "class")}
        configs.append(replace(config, seed=seed, **folders, **unwatched))
    histories = [_trained(configs[0], model_hash)]  # by itself: it makes the class images
    with Runner(raw, None, executor) as runner:
        others = {unit_of("training", each.seed, {}): each for each in configs[1:]}
        _results(runner, [*others], lambda unit: (_train, (runner.recipe, others[unit], model_hash)), "trainings")
        histories += [_trained(each, model_hash) for each in configs[1:]]
        compared = _raw_vs_tuned(raw, histories[0], judge, config, seeds, steps, runner)
    first, last = histories[0], config.num_train_epochs
    numbers = {
        "dreambooth_schema": SCHEMA,
        "model": raw.model,
        "model_hash": model_hash,
        "config": {name: value for name, value in config.to_dict().items() if name != "output_dir"},
        "made_with": first.run(0).settings.get("versions"),
        "layer_evolution": results.evolution(first, judge),
        "raw_vs_tuned": compared,
        "concept_alignment": {
            "trainings": [config.seed + number for number in range(trainings)],
            "layers": list(raw.layers),
            "templates": [list(each) for each in results.TEMPLATES],
            "pairs": [{"role": pair.role, "words": list(pair.words)} for pair in results.PAIRS],
            "before": results.cosines(raw),
            "after": [results.cosines(history.lens(last, device=config.device)) for history in histories],
        },
    }
    return numbers, first.grid()


def _results(
    runner: Runner,
    units: Sequence[Unit],
    task: Callable[[Unit], tuple[Callable[..., Any], tuple[Any, ...]]],
    name: str,
    keep: Callable[[Unit, Any], None] = lambda unit, result: None,
) -> None:
    """Run all units, and keep each result as it comes; the first error ends it."""
    for unit, result, error in runner.run(units, task, name=name, retries=0) if units else ():
        if error is not None:
            raise error
        keep(unit, result)


def _train(recipe: Recipe, config: DreamBoothConfig, model_hash: str) -> None:
    """In a worker: make a training, which stays in its folder."""
    recipe.open()  # takes no more than its share of the cores
    _trained(config, model_hash)


def _trained(config: DreamBoothConfig, model_hash: str) -> TrainingHistory:
    """Load the training from its folder if it is done, else begin or resume it."""
    folder = Path(config.output_dir)
    begun = (folder / files.TRAINING).exists()
    history = TrainingHistory.load(folder) if begun else None
    if history is None or history.status != "done":
        return train_dreambooth(config, resume=begun)
    require_same(config, history.config)
    if history.model_hash != model_hash:
        raise ValueError(
            f"work: {folder} holds a training of another model, whose weights have the hash {history.model_hash}; "
            f"here it is {model_hash}. Give another folder"
        )
    return history


def _raw_vs_tuned(
    raw: DiffusionLens,
    history: TrainingHistory,
    judge: Judge,
    config: DreamBoothConfig,
    seeds: int,
    steps: int,
    runner: Runner,
) -> dict[str, Any]:
    """Every metric as [prompt][seed][layer]; each prompt and seed is stored in the folder of the training at once."""
    layers = sorted(history.run(0).layers)
    _, guidance_scale = chosen_or_default(raw.pipe, steps, config.guidance_scale)
    options: dict[str, Any] = {
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": config.negative_prompt,
    }
    stored = history.folder / "raw_vs_tuned.json"
    same = {**options, "layers": layers, "model_hash": history.model_hash}
    done = _read_stored(stored, same)
    _tuned.cache_clear()
    at = (history.folder, config.num_train_epochs, config.device)
    units = [unit_of(prompt, seed, {}) for prompt in results.COMPARED for seed in range(seeds)]
    todo = [unit for unit in units if f"{unit.seed} {unit.prompt}" not in done]

    def task(unit: Unit) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        asked = {**options, "layers": layers, "seed": unit.seed, "attribution": True}
        return _compared, (runner.recipe, at, unit.prompt, asked, judge)

    def keep(unit: Unit, measures: Any) -> None:
        done[f"{unit.seed} {unit.prompt}"] = measures
        _write(stored, {"same": same, "done": done})

    _results(runner, todo, task, "raw vs tuned", keep)
    rows = [[done[f"{seed} {prompt}"] for seed in range(seeds)] for prompt in results.COMPARED]
    return {
        "training": config.seed,
        "layers": layers,
        "prompts": list(results.COMPARED),
        "seeds": list(range(seeds)),
        "steps": steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": config.negative_prompt,
        "measures": {name: [[each[name] for each in row] for row in rows] for name in rows[0][0]},
    }


def _compared(
    recipe: Recipe, at: tuple[Path, int, str | None], prompt: str, options: Mapping[str, Any], judge: Judge
) -> dict[str, Any]:
    """In a worker: compare the models before and after a training, on one prompt from one seed."""
    return results.compared(compare(recipe.open(), _tuned(*at), prompt, **options), judge)


@lru_cache(maxsize=1)
def _tuned(folder: Path, epoch: int, device: str | None) -> DiffusionLens:
    """The lens of a training's epoch; a worker loads it once."""
    return TrainingHistory.load(folder).lens(epoch, device=device)


def _read_stored(path: Path, same: dict[str, Any]) -> dict[str, Any]:
    """The comparisons made before; none if they were made with other settings."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["done"] if content["same"] == same else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path, "the measurements") as file:
        file.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments and write their numbers; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.evaluation.experiments", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON of all numbers; beside it a sheet of images, as JPEG"
    )
    parser.add_argument("--work", type=Path, default=Path("dreambooth-experiments"), help="gets the trainings")
    parser.add_argument("--config", default=CONFIG, help="YAML of the training (default: the shipped one)")
    parser.add_argument("--trainings", type=int, default=1, help="with different seeds, for experiment 3")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each prompt of experiment 2")
    parser.add_argument("--steps", type=int, default=8, help="denoising steps of experiment 2")
    parser.add_argument("--workers", type=int, default=1, help="processes of this machine")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    counts = {name: getattr(options, name) for name in ("trainings", "seeds", "steps")}
    try:
        config = DreamBoothConfig.from_yaml(options.config)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        found, sheet = experiments(config, options.work, **counts, executor=processes(options.workers))
        _write(options.out, found)
        with replacing(options.out.with_suffix(".jpg"), "the sheet of images") as file:
            sheet.convert("RGB").save(file, "JPEG", quality=88)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
