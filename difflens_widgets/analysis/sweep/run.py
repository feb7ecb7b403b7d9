"""sweep(): the lens on many prompts and seeds, on one machine or many; a call that was stopped or killed goes on."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...lens.diffusion_lens import DiffusionLens
from ...lens.settings import RunOptions, takes_run_options
from ...models import checks
from ...runs.format import lens_file
from ...runs.run import LensRun
from ..judges import PictureJudge
from .claims import Claims
from .result import Sweep
from .runner import Runner, opened
from .units import Unit, UnitFiles, measures_of, unit_of
from .worker import paint, verdicts_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)

_NOT_THE_CONTENT = {"versions", "from_cache", "snapshots"}


@takes_run_options
def sweep(
    lens: DiffusionLens | Callable[[], DiffusionLens],
    prompts: Iterable[str],
    *,
    out: str | Path,
    seeds: Iterable[int] = (0,),
    judge: PictureJudge | None = None,
    executor: Executor | Callable[[], Executor] | None = None,
    retries: int = 1,
    **options: Unpack[RunOptions],
) -> Sweep:
    """Run the lens on every prompt from every seed, keep the pictures, and measure them.

    A run is known by its content: prompt, seed, layers, settings and weights. What is in the folder already is not
    generated again, after whatever end the last call had; other prompts, seeds or another judge may be added. Several
    calls may work on one folder at the same time, also from several machines.

    Parameters
    ----------
    lens : DiffusionLens or callable
        Or a function without arguments that returns one: for executors of other processes, where the pipeline was not
        just loaded by `DiffusionLens.from_pretrained` (a LoRA, another scheduler). Each worker calls it once.
    prompts : iterable of str
        One that occurs twice is run once.
    out : str or Path
        A folder: ``runs/*.lens``, one file of measures for each run in ``units/``, and ``measures.parquet`` with all
        (if pyarrow is installed, as with the extra `sweep`).
    seeds : iterable of int
    judge : PictureJudge, optional
        Says of each picture whether it shows its prompt.
    executor : concurrent.futures.Executor, or a function that makes one, optional
        Default: one run after another, in this thread. ``ProcessPoolExecutor(2)``, Dask's ``client.get_executor()``,
        ipyparallel's ``client.executor()``. Workers of other processes load the model once each; no shared folder is
        needed. Given a function, a pool whose worker died is replaced.
    retries : int
        How often a run that failed is tried again, ≥ 0; after that it is in `Sweep.failures`.
    **options
        As in `DiffusionLens.start`, such as layers; not seed and on_step.

    Raises
    ------
    ValueError, TypeError
        For arguments that cannot work, prompts that the judge cannot judge, or a lens that the workers cannot load;
        before anything is generated.
    RuntimeError
        If a worker died, and the executor was not given by a function.
    OSError
        If the folder cannot be written.
    """
    found, load = opened(lens)
    texts, numbers = _checked_prompts(prompts), _checked_seeds(seeds)
    chosen = tuple(sorted(checks.layers(options.pop("layers", None), found.num_layers)))
    retries = checks.as_int("retries", retries, at_least=0)
    for name in ("seed", "on_step"):
        if options.get(name) is not None:
            raise TypeError(f"{name}: a sweep takes none" + ("; give seeds=[...]" if name == "seed" else ""))
    given: dict[str, Any] = {  # an iterator would be read by the first run alone
        name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()
    }
    about = found._jobs(texts[0], **{**given, "layers": chosen, "seed": numbers[0]})[0].run
    if judge is not None:
        for text in texts:
            judge.judge([], text)
    with Runner(found, load, executor) as runner:
        settings = {**about.settings, "model_hash": runner.recipe.model_hash}
        content = _content(found, about, settings, given)
        units = [unit_of(text, seed, content) for text in texts for seed in numbers]
        files = UnitFiles(Path(out))
        described = "" if judge is None else str(getattr(judge, "description", type(judge).__qualname__))

        def task(unit: Unit) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            asked = {**given, "layers": chosen, "seed": unit.seed}
            return paint, (runner.recipe, unit.prompt, asked, judge)

        Sweep.of(files.folder, units, chosen, settings, described).write()  # so that `Sweep.load` sees it at once
        todo = [unit for unit in units if not _is_finished(files, unit, judge, described)]
        try:
            for unit, result, error in runner.run(
                todo,
                task,
                name="sweep",
                total=len(units),
                retries=retries,
                claims=Claims(files.folder),
                finished=lambda unit: _is_finished(files, unit, judge, described),
            ):
                if error is not None:
                    log.warning("%r from seed %d failed: %s", unit.prompt, unit.seed, error)
                    files.write_failure(unit, f"{type(error).__name__}: {error}")
                elif result is not None:
                    run = LensRun(**_read(result.content))
                    files.write(unit, result.content, measures_of(run, result.verdicts, described, result.seconds))
        finally:
            done = Sweep.of(files.folder, units, chosen, settings, described)
            done.write()
        return done


def _read(content: bytes) -> dict[str, Any]:
    return lens_file.read(io.BytesIO(content))


def _is_finished(files: UnitFiles, unit: Unit, judge: PictureJudge | None, described: str) -> bool:
    """Whether a unit is finished; asks the judge, if the pictures are there and it has not seen them."""
    measures = files.read(unit)
    if measures is None:
        return False
    if judge is None or measures["judge"] == described:
        return True
    try:
        run = files.load(unit)
    except ValueError as error:
        log.warning("%s; it is generated again", error)
        return False
    files.write_measures(unit, measures_of(run, verdicts_of(run, judge), described, measures.get("seconds", 0.0)))
    return True


def _content(lens: DiffusionLens, about: LensRun, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What besides prompt and seed decides a unit, in types that JSON has."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().float().contiguous().numpy()
            return [list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        return str(value)

    kept = {name: value for name, value in settings.items() if name not in _NOT_THE_CONTENT}
    asked = {name: plain(value) for name, value in sorted(options.items()) if value is not None and name != "cache"}
    scheduler = {name: str(value) for name, value in lens.pipe.scheduler.config.items() if not name.startswith("_")}
    return {"settings": kept, "options": asked, "scheduler": scheduler, "layers": list(about.layers)}


def _checked_prompts(prompts: Iterable[str]) -> list[str]:
    if isinstance(prompts, str):
        raise TypeError(f"prompts: expected several, such as [{prompts!r}], got one str")
    given = list(prompts)
    for prompt in given:
        if not isinstance(prompt, str):
            raise TypeError(f"prompts: expected str, got {type(prompt).__name__}: {prompt!r}")
    if not given:
        raise ValueError("prompts: empty; give at least one")
    return list(dict.fromkeys(given))


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    if isinstance(seeds, int):
        raise TypeError(f"seeds: expected several, such as range({seeds}), got the number {seeds}")
    numbers = [checks.as_int("seeds", checks.seed(seed), at_least=0) for seed in seeds]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"seeds: expected different ones, at least one, got {numbers}")
    return numbers
