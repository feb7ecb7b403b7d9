"""How often the embedded model paints what it is told: ``python -m difflens_widgets.tiny.score``.

Fixed prompts and seeds; the generated pictures are read by the judge, whose own accuracy on drawn scenes it has never
seen is printed first. Intervals are 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from ..analysis.intervals import wilson
from ..loading import load_pipeline
from .drawing import draw
from .judge import Judge, Reading, background_right, count_right, objects_right, relation_right
from .judge_training import judged_scene
from .scenes import Scene, sample_scene

Check = Callable[[Scene, Reading], bool]


@dataclass(frozen=True)
class Task:
    """A kind of prompt and what counts as right."""

    name: str
    scene: str
    check: Check
    held_out: bool = False


def _binding_right(scene: Scene, reading: Reading) -> bool:
    """Both kinds are there: each colour is with its own kind."""
    return all(reading.things[item.kind].colour == item.colour for item in scene.items)


TASKS = (
    Task("one object with its colour", "object", objects_right),
    Task("background", "object", background_right),
    Task("two objects with their own colours", "pair", objects_right),
    Task("colour binding, where both are there", "pair", _binding_right),
    Task("relation", "relation", relation_right),
    Task("count", "count", count_right),
    Task("held-out combination", "object", objects_right, held_out=True),
)


def scored_scenes(kind: str, count: int, held_out: bool) -> list[Scene]:
    """The fixed scenes whose explicit captions are the prompts."""
    return [
        sample_scene(np.random.default_rng([index, 77]), kind, held_out=held_out, explicit=True)
        for index in range(count)
    ]


def judge_accuracy(judge: Judge, count: int = 1000) -> tuple[int, int]:
    """On drawn scenes from another seed: how many are read without any mistake in kinds, colours and background."""
    scenes = [judged_scene(10_007, index) for index in range(count)]
    readings = judge.read([draw(scene, judge.size) for scene in scenes])
    checks: dict[str, Check] = {"relation": relation_right, "count": count_right}
    right = sum(
        objects_right(scene, reading)
        and background_right(scene, reading)
        and (scene.task not in checks or checks[scene.task](scene, reading))
        for scene, reading in zip(scenes, readings, strict=True)
    )
    return right, count


def paint(
    pipe: Any, prompts: Sequence[str], *, steps: int, guidance_scale: float, batch: int = 32
) -> list[Image.Image]:
    """One picture a prompt through the stock pipeline; picture i has seed i."""
    pipe.set_progress_bar_config(disable=True)
    images: list[Image.Image] = []
    for start in tqdm(range(0, len(prompts), batch), leave=False, mininterval=10):
        texts = list(prompts[start : start + batch])
        generators = [torch.Generator().manual_seed(start + row) for row in range(len(texts))]
        output = pipe(texts, generator=generators, num_inference_steps=steps, guidance_scale=guidance_scale)
        images += output.images
    return images


def contact_sheet(images: Sequence[Image.Image], columns: int = 16) -> Image.Image:
    """Pictures side by side, to be looked at."""
    side = images[0].width * 2
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side), "white")
    for index, image in enumerate(images):
        sheet.paste(
            image.resize((side, side), Image.Resampling.NEAREST), (index % columns * side, index // columns * side)
        )
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.score", description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--count", type=int, default=160, help="prompts per task")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--sheet", type=Path, help="folder for a contact sheet of each task")
    options = parser.parse_args(arguments)

    judge = Judge.load()
    write = sys.stdout.write
    right, n = judge_accuracy(judge)
    write(_row("judge, drawn scenes never seen", right, n))
    pipe, _ = load_pipeline(options.model, None, None)
    painted: dict[tuple[str, bool], tuple[list[Scene], list[Image.Image], list[Reading]]] = {}
    for task in TASKS:
        key = (task.scene, task.held_out)
        if key not in painted:
            scenes = scored_scenes(task.scene, options.count, task.held_out)
            prompts = [scene.caption for scene in scenes]
            images = paint(pipe, prompts, steps=options.steps, guidance_scale=options.guidance_scale)
            painted[key] = (scenes, images, judge.read(images))
            if options.sheet:
                options.sheet.mkdir(parents=True, exist_ok=True)
                contact_sheet(images[:64]).save(options.sheet / f"{task.scene}{'-held-out' * task.held_out}.png")
        scenes, _, readings = painted[key]
        judged = list(zip(scenes, readings, strict=True))
        if task.check is _binding_right:
            judged = [(scene, read) for scene, read in judged if {i.kind for i in scene.items} <= read.things.keys()]
        write(_row(task.name, sum(task.check(scene, reading) for scene, reading in judged), len(judged)))


def _row(name: str, right: int, n: int) -> str:
    low, high = wilson(right, n)
    return f"{name:<40}{right / max(n, 1):7.1%}   [{low:.1%}, {high:.1%}]  n = {n}\n"


if __name__ == "__main__":
    main()
