"""Measures whether the attention to an object's word lies inside the object.

``python -m difflens_widgets.tiny.evaluation.attention_overlap`` prints the table.

The stock pipeline generates images for fixed prompts with one object ("a big red circle on a blue background") and
fixed seeds, and their attention is captured. The mask of the object comes from the generated image alone
(`object_mask`), so it does not matter whether the model drew what the prompt says. The number of a word is the part of
its attention inside the mask, divided by the mask's share of the image. A constant map gives 1; a word whose attention
is outside the mask gives less.

All words have more attention on objects, so a value above 1 alone proves little: the words of the background are the
control. The backgrounds are plain colors here: places ("on grass") have other words, and no even border.
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
from ...models.sampling_defaults import chosen_or_default
from ...models.weight_hash import weight_hash
from ...runs.maps.maps import AttentionMaps
from ...runs.maps.options import Aggregator
from ..scenes import COLORS, Scene
from .score import contact_sheet, scored_scene

OBJECT, COLOR, GROUND, WORD = "the object's word", "the object's colour", "the background's colour", '"background"'
# shading mixes an object's color with others; the light changes a background by 15 at most
_FAR = (
    min(float(np.linalg.norm(np.subtract(a, b))) for (a, _), (b, _) in itertools.combinations(COLORS.values(), 2)) / 3
)
_BORDER = 1 / 16  # of the side: objects hardly reach it
_EVEN = 0.75  # of the border must have the background's color
_AREAS = (0.01, 0.65)  # of the image: the objects of scenes take 7 to 51 %
_BATCH = 16


@dataclass(frozen=True)
class Measured:
    """One image and its measurement.

    Attributes
    ----------
    scene : Scene
        What the prompt says.
    image : PIL.Image
    mask : bool array (height, width) or None
        Where the object is; None: no object was found.
    ratios : mapping of word → float
        The number of each word, see the module; empty without a mask.
    """

    scene: Scene
    image: Image.Image
    mask: npt.NDArray[np.bool_] | None
    ratios: Mapping[str, float] = field(default_factory=dict)


def object_mask(picture: Image.Image) -> npt.NDArray[np.bool_] | None:
    """Find an object on an even background.

    The background's color is the median of the image's border, for each channel. A pixel belongs to the object if
    the distance of its color from the background's is more than a third of the smallest distance between two colors
    of the embedded model's scenes, and if the same is true for most of its 3 × 3 neighbors. So specks are no objects,
    and parts with the background's color, such as the hole of a ring, do not belong to the object.

    Returns
    -------
    bool array (height, width) or None
        None: the border has several colors, or the mask is smaller or larger than any object of the scenes.
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
    """List the first `count` scored scenes with one object on a background of one color."""
    scenes = (scored_scene(index, "object") for index in itertools.count())
    return list(itertools.islice((scene for scene in scenes if scene.background in COLORS), count))


def words_of(scene: Scene) -> dict[str, str]:
    """Give the words of a scene's caption that are measured, by what they stand for."""
    item = scene.items[0]
    return {OBJECT: item.kind, COLOR: item.color, GROUND: scene.background, WORD: "background"}


def mass_over_area(maps: AttentionMaps, mask: npt.NDArray[np.bool_], word: str) -> float:
    """Divide the part of a word's attention inside a mask by the mask's share of the image; 1 for a constant map."""
    return maps.mass_in_mask(mask, word) / float(mask.mean())


def measure(
    pipe: Any, scenes: Sequence[Scene], *, num_inference_steps: int, guidance_scale: float, aggregator: Aggregator
) -> Iterator[Measured]:
    """Generate an image for each scene's caption, scene i with seed i, and measure its words."""
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
    """Make the table: each word's number, and in how many images the object's word is above 1 and above the control.

    Medians have bootstrap intervals over the images, and shares have Wilson intervals, both of 95 %.

    Raises
    ------
    ValueError
        If no object was found in any image.
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
    """Make the image gray outside of the mask, to show what was taken for the object."""
    inside = np.zeros(picture.size[::-1], dtype=bool) if mask is None else mask
    return Image.fromarray(np.where(inside[..., None], np.asarray(picture.convert("RGB")), 128).astype(np.uint8))


def main(arguments: list[str] | None = None) -> int:
    """Print the table; gives the exit status."""
    program = "python -m difflens_widgets.tiny.evaluation.attention_overlap"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--model", default="tiny", help='"tiny" (default), or a folder with another training of it')
    parser.add_argument("--count", type=int, default=60, help="prompts")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--guidance-scale", type=float, help="default: the model's own")
    parser.add_argument("--aggregator", choices=get_args(Aggregator), default="mean")
    parser.add_argument("--sheet", type=Path, help="PNG of the pictures, each beside what was taken for its object")
    options = parser.parse_args(arguments)
    try:
        scenes = measured_scenes(checks.as_int("count", options.count, at_least=1))
        pipe, name = load_pipeline(options.model, None, None)
        steps, guidance_scale = chosen_or_default(pipe, options.steps, options.guidance_scale)
        checks.as_int("num_inference_steps", steps, at_least=1)
        made = f"{steps} steps · guidance {guidance_scale:g} · {options.aggregator}"
        sys.stdout.write(f"{name} {weight_hash(pipe)} · {made}\n")
        measured = list(
            measure(
                pipe,
                scenes,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
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
