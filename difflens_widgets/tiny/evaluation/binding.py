"""Where the embedded model keeps the color of a thing: ``python -m difflens_widgets.tiny.evaluation.binding``.

Prompts with two colored things. The source prompt differs in one color word: "a red cat and a blue dog …" against "a
green cat and a blue dog …". After each block, the states at one position (the color word, the thing word, the other
thing's word, the word behind the thing, the later words, the end token, the padding) are exchanged for the source's,
the later blocks run on, and the judge reads the picture: is the cat green? Every other prompt changes the second thing.

Two controls: how often the prompt without a patch gives a green cat (nothing but chance and the judge's mistakes), and
how often the source itself does (no patch can do better). Cost: (layers × 7 + 2) pictures for each prompt and seed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...analysis.sweep.runner import Runner, opened
from ...analysis.sweep.units import Unit, unit_of
from ...analysis.sweep.worker import Recipe, finished
from ...lens.diffusion_lens import DiffusionLens
from ...lens.patch_pairs import Place
from ...lens.settings import RunOptions, takes_run_options
from ...models import checks
from ...models.weight_hash import weight_hash
from ...runs.format.atomic_write import require_writable
from ...runs.run import LensRun
from ...runs.tokens import PromptPart, Token
from ...runs.words import positions_of
from ..caption_checks import read_caption
from ..judge import Judge, Reading
from ..scene_judge import SceneJudge
from ..scenes import COLORS, HELD_OUT, article
from .binding_table import (
    FOLLOWED,
    KEPT,
    MISSING,
    MOVED,
    OTHER,
    POSITIONS,
    PROMPT,
    SOURCE,
    BindingTable,
    ColorSwap,
    Outcomes,
    outcomes_in,
    read,
    write,
)
from .emergence import scene_prompts
from .table_command import table_command

if TYPE_CHECKING:
    from typing_extensions import Unpack

log = logging.getLogger(__name__)


def color_swaps(number: int, seed: int = 0) -> list[ColorSwap]:
    """`number` prompts of two things, each with a source prompt that differs from it in one color word.

    The first thing's color is exchanged in about every other prompt, the second's in the others. The new color is
    nowhere in the prompt, and no held-out one. Both colors have the article "a", so that no other word differs.
    """
    if number < 1:
        raise ValueError(f"prompts: {number} is too few, at least 1")
    swaps = []
    for index, prompt in enumerate(scene_prompts("pair", number, seed)):
        claim = read_caption(prompt)
        turn = 1 if index % 2 == 0 else -1
        thing, other = sorted([*claim.colors][::turn], key=lambda kind: _has_an(claim.colors[kind]))
        old, there = claim.colors[thing], {*claim.colors.values(), claim.background}
        free = [c for c in COLORS if c not in there and not _has_an(c) and (c, thing) not in HELD_OUT]
        new = free[np.random.default_rng([seed, index, 91]).integers(len(free))]
        swaps.append(ColorSwap(prompt, prompt.replace(f"{old} {thing}", f"{new} {thing}"), thing, other, old, new))
    return swaps


def places(swap: ColorSwap, tokens: Sequence[Token]) -> list[tuple[Place, Place]]:
    """The pairs of places that `DiffusionLens.patch` takes, in the order of `POSITIONS`."""
    end = next(token.index for token in tokens if token.kind == "eos")
    other = positions_of(swap.other, tokens)
    behind = [i for i in range(positions_of(swap.thing, tokens)[-1] + 1, end) if i not in other]
    following, later = (behind[0],), tuple(behind[1:])  # a background always follows
    return [
        (swap.old, swap.new),
        (swap.thing, swap.thing),
        (swap.other, swap.other),
        (following, following),
        (later, later),
        (end, end),
        (PromptPart.PADDING, PromptPart.PADDING),
    ]


def outcome(swap: ColorSwap, reading: Reading) -> str:
    """What became of the color in one picture, one of `OUTCOMES`."""
    thing, other = reading.things.get(swap.thing), reading.things.get(swap.other)
    if thing and thing.color == swap.new:
        return FOLLOWED
    if other and other.color == swap.new:
        return MOVED
    if not thing:
        return MISSING
    return KEPT if thing.color == swap.old else OTHER


@takes_run_options
def binding_table(
    lens: DiffusionLens | Callable[[], DiffusionLens],
    swaps: Sequence[ColorSwap],
    *,
    seeds: Iterable[int] = range(3),
    path: str | Path | None = None,
    reader: Judge | None = None,
    executor: Executor | Callable[[], Executor] | None = None,
    retries: int = 1,
    **options: Unpack[RunOptions],
) -> BindingTable:
    """Patch every prompt from every seed at every layer and position, and read the pictures.

    Parameters
    ----------
    lens : DiffusionLens or callable
        Of the embedded model or another training of it; or a function that returns it, as in `sweep`.
    swaps : sequence of ColorSwap
    seeds : iterable of int
    path : str or Path, optional
        A JSON file for the outcomes, written after every run. If it exists, the experiment continues with it; there
        may be more prompts or seeds than before.
    reader : Judge, optional
        Default: the one shipped with the embedded model.
    executor, retries
        As in `sweep`.
    **options
        As in `DiffusionLens.patch`, such as layers and num_inference_steps; not seed and on_step.

    Raises
    ------
    ValueError, TypeError
        For arguments that cannot work, or a file of a different experiment. Before anything is painted.
    RuntimeError
        If a run has no picture at all, also when tried again. A single picture that failed counts as one without the
        thing, with a warning.
    """
    lens, load = opened(lens)
    reader = Judge.load() if reader is None else reader
    swaps, numbers = tuple(swaps), tuple(checks.as_int("seeds", seed, at_least=0) for seed in seeds)
    for name, given in (("prompts", swaps), ("seeds", numbers)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"{name}: expected different ones, at least one, got {list(given)}")
    for name in ("seed", "on_step"):
        if options.get(name) is not None:
            raise TypeError(f"{name}: this experiment takes none" + ("; give seeds=[...]" if name == "seed" else ""))
    chosen = tuple(sorted(checks.layers(options.get("layers"), lens.num_layers)))
    of_source: RunOptions = {**options, "layers": [lens.num_layers - 1], "seed": numbers[0]}
    of_patch: RunOptions = {**options, "layers": chosen}
    settings = {
        **lens._jobs([swap.source for swap in swaps], **of_source)[0].run.settings,
        "model_hash": weight_hash(lens.pipe),
    }
    judge = SceneJudge("colours", reader).description
    found: dict[tuple[ColorSwap, int], Outcomes] = {}
    if path is not None:
        require_writable(Path(path), "the table of binding")
        if Path(path).exists():
            found = _continued(Path(path), settings, chosen, judge, [(a, b) for a in swaps for b in numbers])

    asked = {unit_of(swap.prompt, seed, {"source": swap.source}): swap for swap in swaps for seed in numbers}
    todo = [unit for unit, swap in asked.items() if (swap, unit.seed) not in found]
    with Runner(lens, load, executor) as runner:

        def work(unit: Unit) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            seeded = {"seed": unit.seed}
            return _patched, (runner.recipe, asked[unit], {**of_patch, **seeded}, {**of_source, **seeded}, reader)

        for unit, outcomes, error in runner.run(todo, work, name="binding", total=len(asked), retries=retries):
            if error is not None:
                raise RuntimeError(f"no pictures of {unit.prompt!r} from seed {unit.seed}: {error}") from error
            found[asked[unit], unit.seed] = outcomes
            if path is not None:
                write(Path(path), chosen, numbers, swaps, judge, settings, found)
    return BindingTable(chosen, numbers, swaps, found, judge, settings)


def _has_an(color: str) -> bool:
    return article(color).startswith("an ")


def _patched(
    recipe: Recipe, swap: ColorSwap, of_patch: Mapping[str, Any], of_source: Mapping[str, Any], reader: Judge
) -> Outcomes:
    """In a worker: paint and read one prompt from one seed."""
    lens = recipe.open()
    pairs = places(swap, lens.tokenize(swap.prompt)[0])
    patched = finished(lens._patches(swap.prompt, swap.source, pairs, False, False, **of_patch)[0])
    source = finished(lens._jobs(swap.source, **of_source)[0])
    return _read(swap, patched, source, reader)


def _read(swap: ColorSwap, patched: LensRun, source: LensRun, reader: Judge) -> Outcomes:
    """Read all pictures of one prompt and seed."""
    pictures: dict[str, list[Image.Image | None]] = {
        PROMPT: [next(iter(patched.images.values()), None)],
        SOURCE: [next(iter(source.images.values()), None)],
    }
    for position, variant in zip(POSITIONS, sorted(patched.variants, key=lambda each: each.number), strict=True):
        pictures[position] = [patched.token_images.get((layer, variant)) for layer in sorted(patched.layers)]
    for reason in (*patched.failures.values(), *patched.token_failures.values(), *source.failures.values()):
        log.warning("a picture of %r counts as one without the %s: %s", swap.prompt, swap.thing, reason)
    there = [image for row in pictures.values() for image in row if image is not None]
    readings = iter(reader.read(there) if there else [])
    return {
        name: "".join(MISSING if image is None else outcome(swap, next(readings)) for image in row)
        for name, row in pictures.items()
    }


def _continued(
    path: Path,
    settings: dict[str, Any],
    layers: tuple[int, ...],
    judge: str,
    requested: list[tuple[ColorSwap, int]],
) -> dict[tuple[ColorSwap, int], Outcomes]:
    """The outcomes of an earlier call, if it was the same experiment."""
    content = read(path)
    now = {**settings, "layers": list(layers), "judge": judge}
    then = {**content["settings"], "layers": content["layers"], "judge": content["judge"]}
    names = [name for name in {**then, **now} if name != "versions" and then.get(name) != now.get(name)]
    if names:
        differences = "; ".join(f"{name}: {then.get(name)!r} there, {now.get(name)!r} now" for name in names)
        raise ValueError(f"{path}: is of a different experiment ({differences}); give another file")
    found = outcomes_in(content)
    if surplus := len(found.keys() - set(requested)):
        raise ValueError(f"{path}: has {surplus} runs that are not requested now (prompts, seeds); give another file")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""

    def table(lens: DiffusionLens, prompts: int, options: dict[str, Any]) -> BindingTable:
        return binding_table(lens, color_swaps(prompts), **options)

    return table_command(arguments, "binding", __doc__, "prompts", table)


if __name__ == "__main__":
    sys.exit(main())
