"""Where the embedded model's text encoder understands what: ``python -m difflens_widgets.tiny.evaluation.emergence``.

The paper's tasks, asked of a model whose training frequencies are known and whose pictures can be read by machine. The
prompts of the common and the rare task differ in nothing but the kind of thing, and every picture serves all the tasks
that can be asked of it. How often the judge itself is right is what
``python -m difflens_widgets.tiny.evaluation.score`` tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np

from ...analysis.experiment import EmergenceTask, emergence_table
from ...analysis.table import EmergenceTable
from ...lens.diffusion_lens import DiffusionLens
from ..judge import Judge
from ..scene_judge import SceneJudge
from ..scenes import ANIMALS, COLORS, HELD_OUT, SHAPES, sample_scene
from .table_command import table_command

_EACH = 2  # of the shapes, and of the animals: the most frequent and the least


def common_and_rare() -> tuple[list[str], list[str]]:
    """The kinds drawn most often and those drawn least often, as many shapes as animals."""
    ordered = [sorted(kinds, key=lambda kind: -kinds[kind]) for kinds in (SHAPES, ANIMALS)]
    return [kind for kinds in ordered for kind in kinds[:_EACH]], [kind for kinds in ordered for kind in kinds[-_EACH:]]


def object_prompts(number: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """`number` prompts with a common kind, and the same ones with a rare kind in its place; none held out.

    Raises
    ------
    ValueError
        If there are not that many different ones.
    """
    common, rare = common_and_rare()
    every = [
        (pair, color, background)
        for pair in zip(common, rare, strict=True)
        for color in COLORS
        for background in COLORS
        if background != color and not {(color, kind) for kind in pair} & HELD_OUT
    ]
    if not 1 <= number <= len(every):
        raise ValueError(f"prompts: {number} is outside 1..{len(every)}, the different ones there are")
    chosen = [every[i] for i in np.random.default_rng(seed).permutation(len(every))[:number]]
    texts = [
        [f"{_a(color)} {pair[side]} on {_a(background)} background" for pair, color, background in chosen]
        for side in (0, 1)
    ]
    return texts[0], texts[1]


def scene_prompts(task: str, number: int, seed: int = 0) -> list[str]:
    """`number` different captions of scenes with two things of two colors; none held out.

    On plain colors, as the prompts of one thing are: a place would be one more difference between the tasks.
    """

    def captions() -> Iterator[str]:
        for index in count():
            scene = sample_scene(np.random.default_rng([seed, index, 78]), task, explicit=True)
            if scene.items[0].color != scene.items[1].color and scene.background in COLORS:
                yield scene.caption

    different: dict[str, None] = {}
    for caption in islice(captions(), 100 * number):
        different[caption] = None
        if len(different) == number:
            break
    return list(different)


def tasks(number: int, reader: Judge | None = None) -> list[EmergenceTask]:
    """The tasks, each with `number` prompts (those that any one thing serves: twice as many)."""
    reader = reader or Judge.load()
    common, rare = object_prompts(number)
    pairs, relations = scene_prompts("pair", number), scene_prompts("relation", number)
    asked = {
        "common kind": (common, "kinds"),
        "rare kind": (rare, "kinds"),
        "one colour": ([*common, *rare], "colours"),
        "hue alone": ([*common, *rare], "hues"),
        "background": ([*common, *rare], "background"),
        "two colours": (pairs, "colours"),
        "relation": (relations, "relation"),
    }
    return [EmergenceTask(name, prompts, SceneJudge(asks, reader)) for name, (prompts, asks) in asked.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status."""

    def table(lens: DiffusionLens, prompts: int, options: dict[str, Any]) -> EmergenceTable:
        return emergence_table(lens, tasks(prompts), **options)

    return table_command(arguments, "emergence", __doc__, "prompts of each kind", table)


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


if __name__ == "__main__":
    sys.exit(main())
