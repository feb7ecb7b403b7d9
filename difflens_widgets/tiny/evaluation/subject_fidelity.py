"""How often a model generates the shipped subject.

``python -m difflens_widgets.tiny.evaluation.subject_fidelity [WEIGHTS ...]`` prints it.

WEIGHTS are folders that a DreamBooth training of the embedded model kept, such as ``OUTPUT/epochs/000150/weights``. The
model before training is always measured first, from the same noise. An image shows the subject if enough of it, without
the background, has the color of its fur, and enough the color of its ears. The first lines tell how often this is so
for drawings of the subject and of other dogs. The judge says how often there is a dog, and nothing else, at all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ...analysis.intervals import wilson
from ...models.loading import load_pipeline
from ...models.sampling_defaults import chosen_or_default
from ...models.tuned import load_tuned_pipeline
from ..drawing import draw
from ..judge import Judge
from ..scenes import COLORS, Item, Markings, Scene, sample_scene
from ..subject import DOG
from .score import paint

SUBJECT, CLASS = "a photo of xon dog", "a photo of a dog"
SHOWS = "shows the subject"
_NEAR = 60.0  # of 0..442: up to this distance in RGB a pixel has a color; the light changes these two by < 50
_FUR, _EARS = 0.0388, 0.0279  # shares of the image: half of the least of 200 drawn subjects


def shows_subject(image: Image.Image) -> bool:
    """Whether there are fur and ears of the subject's colors in front of a background of another color."""
    pixels = np.asarray(image.convert("RGB"), float)
    frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    thing = np.linalg.norm(pixels - np.median(frame, axis=0), axis=-1) > _NEAR
    fur, ears = (
        (np.linalg.norm(pixels - COLORS[color][0], axis=-1) < _NEAR) & thing
        for color in (DOG.color, DOG.markings.ears or DOG.color)
    )
    return bool(fur.mean() >= _FUR and ears.mean() >= _EARS)


def variety(images: Sequence[Image.Image]) -> float:
    """How different the images are: the root mean square of the pixel differences of their middles, 0..255.

    The subject is in the middle; backgrounds still differ when every dog has become the same one.
    """
    middles = [image.convert("RGB").crop(_middle(image)) for image in images]
    pixels = np.stack([np.asarray(middle, float).ravel() for middle in middles])
    return float(np.sqrt(2 * pixels.var(axis=0, ddof=1).mean()))


def drawn_subjects(count: int) -> list[Image.Image]:
    """Drawings of the subject, at positions and in front of colors that no training image has."""
    rng = np.random.default_rng(11)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng, "object")
        if scene.background not in (DOG.color, DOG.markings.ears) and scene.items[0].r > 0.25:
            place = scene.items[0]
            dog = Item(DOG.kind, DOG.color, place.x, place.y, place.r, DOG.markings)
            scenes.append(Scene((dog,), scene.background, "object", ""))
    return [draw(scene) for scene in scenes]


def drawn_dogs(count: int) -> list[Image.Image]:
    """Drawings of other dogs, as in the training of the base model; by chance one may have the subject's markings."""
    rng = np.random.default_rng(12)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng, "object")
        if scene.items[0].kind == DOG.kind and not _is_subject(scene.items[0].color, scene.items[0].markings):
            scenes.append(scene)
    return [draw(scene) for scene in scenes]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    program = "python -m difflens_widgets.tiny.evaluation.subject_fidelity"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("weights", type=Path, nargs="*", help="folders of trained weights")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--count", type=int, default=32, help="images of each prompt")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--guidance-scale", type=float, help="default: the model's own")
    options = parser.parse_args(arguments)
    write = sys.stdout.write
    try:
        for name, images in (("drawn subjects", drawn_subjects(200)), ("drawn other dogs", drawn_dogs(200))):
            write(_row(name, list(map(shows_subject, images)), SHOWS))
        model, _ = load_pipeline(options.model, None, None)
        steps, guidance_scale = chosen_or_default(model, options.steps, options.guidance_scale)
        write(f"{steps} steps · guidance {guidance_scale:g}\n")
        judge = Judge.load()
        before: float | None = None
        for folder in (None, *options.weights):
            pipe = model if folder is None else load_tuned_pipeline(options.model, folder)[0]
            write(f"{'before training' if folder is None else folder}\n")
            for prompt in (SUBJECT, CLASS):
                images = paint(pipe, [prompt] * options.count, steps=steps, guidance_scale=guidance_scale)
                write(_row(f"  {prompt}", list(map(shows_subject, images)), SHOWS))
                dogs = [reading.things.keys() == {DOG.kind} for reading in judge.read(images)]
                write(_row("", dogs, "is read as a dog"))
            before = variety(images) if before is None else before
            write(f"  variety of the class, of that before training: {variety(images) / before:.2f}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _row(name: str, right: Sequence[bool], what: str) -> str:
    count, n = sum(right), len(right)
    low, high = wilson(count, n)
    return f"{name:<28} {what:<17} {count / n:6.1%} [{low:.1%}, {high:.1%}] n = {n}\n"


def _middle(image: Image.Image) -> tuple[int, int, int, int]:
    """The middle half of its width and height."""
    width, height = image.size
    return width // 4, height // 4, width - width // 4, height - height // 4


def _is_subject(color: str, markings: Markings) -> bool:
    return (color, markings.ears) == (DOG.color, DOG.markings.ears)


if __name__ == "__main__":
    sys.exit(main())
