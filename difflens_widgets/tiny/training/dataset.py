"""A cached training set: pictures drawn once by worker processes, kept as one uint8 file, with their captions."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..drawing import draw_array
from ..scenes import NAMED_MATERIALS, Scene, sample_scene, training_scene


@dataclass(frozen=True)
class ScenePool:
    """`len(scenes)` drawn scenes; `pictures` is uint8 (scene, size, size, 3)."""

    scenes: list[Scene]
    pictures: np.ndarray

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures as float32 (batch, 3, size, size) in -1..1, as diffusers wants them."""
        return floats(torch.from_numpy(self.pictures[indices.numpy()]))


def floats(pictures: Tensor) -> Tensor:
    """From uint8 (n, size, size, 3) to float32 (n, 3, size, size) in -1..1."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def balanced_scene(seed: int, index: int) -> Scene:
    """A `training_scene`, but of every ten one has a named material, one is a relation, one a count.

    By the world's own frequencies a dotted thing is in 2.3 % of the pictures, and one thing inside another in 4 %: too
    rare to be learnt in some thousand steps. Half of the relations added are "inside".
    """
    number, special = divmod(index, 10)
    rng = np.random.default_rng([seed, index, 2])
    if special == 0:
        return sample_scene(rng, "object", material=NAMED_MATERIALS[number % len(NAMED_MATERIALS)])
    if special == 1:
        return sample_scene(rng, "relation", relation="inside" if number % 2 else None)
    return sample_scene(rng, "count" if special == 2 else None)


def load_pool(
    folder: Path,
    count: int,
    size: int,
    seed: int = 0,
    scene_of: Callable[[int, int], Scene] = training_scene,
    name: str = "pictures",
) -> ScenePool:
    """Draw `count` scenes of `size` pixels, or read them back from `folder` if they were drawn before.

    `scene_of` gives the scene of (`seed`, index); `name` is the file's, another one for other scenes.
    """
    scenes = [scene_of(seed, index) for index in range(count)]
    path = folder / f"{name}-{seed}-{count}-{size}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as workers:
            pictures = np.stack(list(workers.map(partial(draw_array, size=size), scenes, chunksize=256)))
        aside = path.with_suffix(".part.npy")
        np.save(aside, pictures)
        os.replace(aside, path)
    return ScenePool(scenes, np.load(path, mmap_mode="r"))
