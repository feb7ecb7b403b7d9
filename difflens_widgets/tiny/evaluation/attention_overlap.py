"""Whether a word is looked at where its thing is drawn.

``python -m difflens_widgets.tiny.evaluation.attention_overlap`` prints it.

Fixed prompts of one object ("a big red circle on a blue background") and seeds, painted by the stock pipeline while
its attention is watched. Where the object was drawn is read from the generated picture alone (`object_mask`), so
whatever the model drew counts, the right kind of thing or not. A word's number is the share of its attention inside the
mask over the mask's share of the picture: 1 is what an even map gives, and a word that is looked at outside gets less.

Attention is drawn to objects whatever the word, so 1 alone proves little: the background's words are the control.
Backgrounds are plain colours here: a place ("on grass") is told by other words, and has no even border.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...analysis.intervals import median_interval, wilson
from ...attention.capture import capture_attention
from ...models import checks
from ...models.loading import load_pipeline
from ...models.weight_hash import weight_hash
from ...runs.maps.maps import AttentionMaps
from ...runs.maps.options import Aggregator
from ..scenes import COLOURS, Scene
from .score import contact_sheet, scored_scene

OBJECT, COLOUR, GROUND, WORD = "the object's word", "the object's colour", "the background's colour", '"background"'
# shaded parts lie between two colours; the light moves a background by 15 at most
_FAR = (
    min(float(np.linalg.norm(np.subtract(a, b))) for (a, _), (b, _) in itertools.combinations(COLOURS.values(), 2)) / 3
)
_BORDER = 1 / 16  # of the side: objects hardly reach it
_EVEN = 0.75  # of the border must have the background's colour
_AREAS = (0.01, 0.65)  # of the picture: things that scenes have take 7 to 51 %
_BATCH = 16


@dataclass(frozen=True)
class Measured:
    """One picture: of which scene, where its object is (None: none is to be seen), and each word's number."""

    scene: Scene
    image: Image.Image
    mask: npt.NDArray[np.bool_] | None
    ratios: Mapping[str, float] = field(default_factory=dict)


def object_mask(picture: Image.Image) -> npt.NDArray[np.bool_] | None:
    """Where something is drawn on an even background, (height, width); None where nothing can be told.

    The background's colour is the median of the picture's border (each channel by itself). A pixel belongs to the
    object if its colour is further from that than a third of the distance of the two most alike colours of the embedded
    model's world, and so is that of most of its 3 × 3 neighbours (specks are not objects; parts in the background's
    colour, such as a ring's hole, are not filled). Nothing can be told where the border has several colours, or where
    the mask is smaller or larger than any object that scenes have.
    """
    pixels = np.asarray(picture.convert("RGB"), dtype=float)
    height, width = pixels.shape[:2]
    edge = max(1, round(min(height, width) * _BORDER))
    border = np.ones((height, width), dtype=bool)
    border[edge:-edge, edge:-edge] = False
    far = np.linalg.norm(pixels - np.median(pixels[border], axis=0), axis=-1) > _FAR
    if (~far[border]).mean() < _EVEN:
        return None
    around = np.lib.stride_tricks.sliding_window_view(np.pad(far, 1, mode="edge"), (3, 3))
    mask: npt.NDArray[np.bool_] = far & (around.sum((-1, -2)) >= 5)
    return mask if _AREAS[0] <= mask.mean() <= _AREAS[1] else None


def measured_scenes(count: int) -> list[Scene]:
    """The first `count` scored scenes of one object on a background that is a colour."""
    scenes = (scored_scene(index, "object") for index in itertools.count())
    return list(itertools.islice((scene for scene in scenes if scene.background in COLOURS), count))


def words_of(scene: Scene) -> dict[str, str]:
    """The words of a scene's explicit caption that are measured, by what they are."""
    item = scene.items[0]
    return {OBJECT: item.kind, COLOUR: item.colour, GROUND: scene.background, WORD: "background"}


def mass_over_area(maps: AttentionMaps, mask: npt.NDArray[np.bool_], word: str) -> float:
    """The share of a word's attention inside the mask over the mask's share of the picture; 1 for an even map."""
    return maps.mass_in_mask(mask, word) / float(mask.mean())


def measure(
    pipe: Any, scenes: Sequence[Scene], *, num_inference_steps: int, guidance_scale: float, aggregator: Aggregator
) -> Iterator[Measured]:
    """Paint each scene's caption, scene i with seed i, and measure its words."""
    pipe.set_progress_bar_config(disable=True)
    for start in range(0, len(scenes), _BATCH):
        some = scenes[start : start + _BATCH]
        texts = [scene.caption for scene in some]
        generators = [torch.Generator().manual_seed(start + row) for row in range(len(some))]
        with capture_attention(pipe, texts, attention=aggregator) as maps:
            options = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
            images = pipe(texts, generator=generators, **options).images
        for scene, image, of_picture in zip(some, images, maps, strict=True):
            mask = object_mask(image)
            ratios = {} if mask is None else _ratios(of_picture, mask, scene)
            yield Measured(scene, image, mask, ratios)


def _ratios(maps: AttentionMaps, mask: npt.NDArray[np.bool_], scene: Scene) -> dict[str, float]:
    return {what: mass_over_area(maps, mask, word) for what, word in words_of(scene).items()}


def report(measured: Sequence[Measured]) -> str:
    """The table: each word's number, and in how many pictures the object's word is above 1 and above the others'.

    Medians have bootstrap intervals over the pictures, shares Wilson intervals; both of 95 %.

    Raises
    ------
    ValueError
        If no picture has an object to be seen.
    """
    seen = [one.ratios for one in measured if one.mask is not None]
    if not seen:
        raise ValueError(f"in none of {len(measured)} pictures is there an object on an even background")
    ratios = {what: np.array([of_picture[what] for of_picture in seen]) for what in seen[0]}
    areas = [one.mask.mean() for one in measured if one.mask is not None]
    lines = [
        f"{len(measured)} prompts; an object is seen in {len(seen)} pictures, {np.median(areas):.0%} of their area",
        "attention inside the object ÷ its area (1 = even): median of the pictures, and how many are above 1",
    ]
    for what, values in ratios.items():
        median = median_interval(values[:, None])
        number = f"{median.value:6.2f}   [{median.low:.2f}, {median.high:.2f}]"
        lines.append(f"{what:<28}{number:<28}{_share(values > 1)}")
    above = {f"{OBJECT} above {what}": ratios[OBJECT] > ratios[what] for what in (GROUND, WORD)}
    above[f"{OBJECT} above 1 and both"] = np.all([ratios[OBJECT] > 1, *above.values()], axis=0)
    lines += [f"{what:<56}{_share(holds)}" for what, holds in above.items()]
    return "".join(f"{line}\n" for line in lines)


def _share(holds: npt.NDArray[np.bool_]) -> str:
    low, high = wilson(int(holds.sum()), len(holds))
    return f"{holds.mean():6.1%}   [{low:.1%}, {high:.1%}]  n = {len(holds)}"


def cut_out(picture: Image.Image, mask: npt.NDArray[np.bool_] | None) -> Image.Image:
    """The picture with all outside of the mask grey, to see what was taken for the object."""
    inside = np.zeros(picture.size[::-1], dtype=bool) if mask is None else mask
    return Image.fromarray(np.where(inside[..., None], np.asarray(picture.convert("RGB")), 128).astype(np.uint8))


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    program = "python -m difflens_widgets.tiny.evaluation.attention_overlap"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--model", default="tiny", help='"tiny" (default), or a folder with another training of it')
    parser.add_argument("--count", type=int, default=60, help="prompts")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--aggregator", choices=get_args(Aggregator), default="mean")
    parser.add_argument("--sheet", type=Path, help="PNG of the pictures, each beside what was taken for its object")
    options = parser.parse_args(arguments)
    try:
        scenes = measured_scenes(checks.whole("count", options.count, at_least=1))
        steps = checks.whole("num_inference_steps", options.steps, at_least=1)
        pipe, name = load_pipeline(options.model, None, None)
        made = f"{options.steps} steps · guidance {options.guidance_scale:g} · {options.aggregator}"
        sys.stdout.write(f"{name} {weight_hash(pipe)} · {made}\n")
        measured = list(
            measure(
                pipe,
                scenes,
                num_inference_steps=steps,
                guidance_scale=options.guidance_scale,
                aggregator=options.aggregator,
            )
        )
        if options.sheet:
            pairs = [image for one in measured for image in (one.image, cut_out(one.image, one.mask))]
            contact_sheet(pairs).save(options.sheet)
        sys.stdout.write(report(measured))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
