"""How often the embedded model paints what it is told: ``python -m difflens_widgets.tiny.evaluation.score``.

Fixed prompts and seeds; the generated pictures are read by the judge, whose own accuracy on drawn scenes it has never
seen is printed first. Shares have 95 % Wilson intervals, means have t intervals.

CLIP-T is the cosine of a picture and its caption by the small CLIP of this world. Its text encoder is the very one that
feeds the U-Net, so it judges less independently than the judge does; what drawn pictures of the same scenes reach is
printed beside it.
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

from ...analysis.intervals import mean_interval, wilson
from ...models import checks
from ...models.loading import WEIGHTS, load_pipeline
from ...models.sampling_defaults import chosen_or_default
from ...models.weight_hash import weight_hash
from ..caption_checks import (
    CaptionCheck,
    background_right,
    claim_of,
    colors_right,
    count_right,
    everything_right,
    kinds_right,
    material_right,
    objects_right,
    read_caption,
    relation_right,
)
from ..clip import SmallClip
from ..drawing import draw
from ..judge import Judge, Reading
from ..scenes import NAMED_MATERIALS, PLACES, Scene, sample_scene
from ..training.judge_training import judged_scene

_SHEET = 64  # pictures on a contact sheet


@dataclass(frozen=True)
class Prompts:
    """The captions of scenes of one kind; `made`: of things that are striped, dotted or metallic, in turn."""

    scene: str
    held_out: bool = False
    made: bool = False

    @property
    def name(self) -> str:
        """Of the contact sheet's file."""
        return f"{self.scene}{'-held-out' * self.held_out}{'-material' * self.made}"

    def scenes(self, count: int) -> list[Scene]:
        """The fixed scenes whose explicit captions are the prompts."""
        return scored_scenes(self.scene, count, self.held_out, self.made)


@dataclass(frozen=True)
class Task:
    """Prompts, what counts as right, and which of the pictures are asked for it."""

    name: str
    prompts: Prompts
    check: CaptionCheck
    asked: Callable[[Scene, Reading], bool] = lambda scene, reading: True


def _in_a_place(scene: Scene, reading: Reading) -> bool:
    return scene.background in PLACES


def _on_a_color(scene: Scene, reading: Reading) -> bool:
    return scene.background not in PLACES


def _both_there(scene: Scene, reading: Reading) -> bool:
    return kinds_right(read_caption(scene.caption), reading)


_ONE, _PAIR = Prompts("object"), Prompts("pair")
TASKS = (
    Task("one object with its colour", _ONE, objects_right),
    Task("background, a colour", _ONE, background_right, _on_a_color),
    Task("background, a place", _ONE, background_right, _in_a_place),
    Task("two objects with their own colours", _PAIR, objects_right),
    Task("colour binding, where both are there", _PAIR, colors_right, _both_there),
    Task("relation", Prompts("relation"), relation_right),
    Task("count", Prompts("count"), count_right),
    Task("material", Prompts("object", made=True), material_right),
    Task("held-out combination", Prompts("object", held_out=True), objects_right),
)


def scored_scene(index: int, kind: str, held_out: bool = False, made: bool = False) -> Scene:
    """Scene `index` of those that are scored; see `Prompts`."""
    material = NAMED_MATERIALS[index % len(NAMED_MATERIALS)] if made else None
    rng = np.random.default_rng([index, 77])
    return sample_scene(rng, kind, held_out=held_out, explicit=True, material=material)


def scored_scenes(kind: str, count: int, held_out: bool = False, made: bool = False) -> list[Scene]:
    """The first `count` of them."""
    return [scored_scene(index, kind, held_out, made) for index in range(count)]


def judge_accuracy(judge: Judge, count: int = 1000) -> tuple[int, int]:
    """On drawn scenes from another seed: how many are read without any mistake, and how many there are.

    Kinds, colors, counts, materials, the background, and a relation where there is one, are all asked.
    """
    scenes = [judged_scene(10_007, index) for index in range(count)]
    readings = judge.read([draw(scene, judge.size) for scene in scenes])
    return sum(map(everything_right, map(claim_of, scenes), readings)), count


def clip_scores(clip: SmallClip, captions: Sequence[str], images: Sequence[Image.Image]) -> tuple[np.ndarray, int]:
    """The cosine of each picture with its own caption, and how many have a higher one with it than with all others."""
    different = list(dict.fromkeys(captions))
    cosines = clip.of_pictures(images) @ clip.of_captions(different).T
    own = np.array([different.index(caption) for caption in captions])
    return cosines[np.arange(len(own)), own], int((cosines.argmax(1) == own).sum())


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


def contact_sheet(images: Sequence[Image.Image], columns: int = 8) -> Image.Image:
    """Pictures of one size side by side, each at its own size, to be looked at."""
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * width, index // columns * height))
    return sheet


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.evaluation.score", description=__doc__)
    parser.add_argument("--model", default="tiny", help='"tiny" (default), or a folder with another training of it')
    parser.add_argument("--judged-by", type=Path, default=WEIGHTS, help="the model whose judge and CLIP measure")
    parser.add_argument("--count", type=int, default=160, help="prompts per task")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--guidance-scale", type=float, help="default: the model's own")
    parser.add_argument("--sheet", type=Path, help="folder for a contact sheet of each task")
    options = parser.parse_args(arguments)
    write = sys.stdout.write
    try:
        checks.as_int("count", options.count, at_least=1)
        judge, clip = Judge.load(options.judged_by / "judge"), SmallClip.load(options.judged_by)
        pipe, name = load_pipeline(options.model, None, None)
        steps, guidance_scale = chosen_or_default(pipe, options.steps, options.guidance_scale)
        checks.as_int("steps", steps, at_least=1)
        made = f"{steps} steps · guidance {guidance_scale:g}"
        write(f"{name} {weight_hash(pipe)} · {made} · judge and CLIP: {options.judged_by}\n")
        write(_row("judge, drawn scenes never seen", *judge_accuracy(judge)))
        painted: dict[Prompts, tuple[list[Scene], list[Image.Image], list[Reading]]] = {}
        for task in TASKS:
            if task.prompts not in painted:
                scenes = task.prompts.scenes(options.count)
                captions = [scene.caption for scene in scenes]
                images = paint(pipe, captions, steps=steps, guidance_scale=guidance_scale)
                painted[task.prompts] = (scenes, images, judge.read(images))
                if options.sheet:
                    options.sheet.mkdir(parents=True, exist_ok=True)
                    contact_sheet(images[:_SHEET]).save(options.sheet / f"{task.prompts.name}.png")
            scenes, _, readings = painted[task.prompts]
            asked = [pair for pair in zip(scenes, readings, strict=True) if task.asked(*pair)]
            right = sum(task.check(read_caption(scene.caption), reading) for scene, reading in asked)
            write(_row(task.name, right, len(asked)))
        of_model = [(scenes, images) for scenes, images, _ in painted.values()]
        of_drawings = [(scenes, [draw(scene) for scene in scenes]) for scenes, _ in of_model]
        write(_clip_rows("", clip, of_model) + _clip_rows(", drawn", clip, of_drawings))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _row(name: str, right: int, n: int) -> str:
    if n == 0:
        return f"{name:<40}      –   nothing to ask\n"
    low, high = wilson(right, n)
    return f"{name:<40}{right / n:7.1%}   [{low:.1%}, {high:.1%}]  n = {n}\n"


def _clip_rows(whose: str, clip: SmallClip, tasks: Sequence[tuple[Sequence[Scene], Sequence[Image.Image]]]) -> str:
    """The mean cosine over all pictures, and how often the own caption wins against the others of its task."""
    scores = [clip_scores(clip, [scene.caption for scene in scenes], images) for scenes, images in tasks]
    cosines = np.concatenate([values for values, _ in scores])
    mean, low, high = (float(each) for each in mean_interval(cosines))
    return f"{'CLIP-T, mean cosine' + whose:<40}{mean:7.3f}   [{low:.3f}, {high:.3f}]  n = {len(cosines)}\n" + _row(
        f"CLIP-T, the own caption fits best{whose}", sum(best for _, best in scores), len(cosines)
    )


if __name__ == "__main__":
    sys.exit(main())
