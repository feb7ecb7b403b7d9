"""Draws a scene: smooth outlines by supersampling, soft light, materials, places to be in.

Every thing is drawn flat on a tile of its own (how, tells `figures.py`), then given its material and the light.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from .figures import draw_figure
from .scenes import COLORS, PLACES, Item, Scene

SIZE = 128
_SUPERSAMPLING = 3
_STANDING_SHADOW = 0.82  # what is left of the light


def draw(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw a scene as an RGB picture of `size` × `size` pixels."""
    side = size * _SUPERSAMPLING
    canvas = _background(scene.background, side).copy()
    for item in sorted(scene.items, key=lambda item: -item.r):  # large first: what is inside stays visible
        _place(canvas, item)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).reduce(_SUPERSAMPLING)


def draw_array(scene: Scene, size: int = SIZE) -> np.ndarray:
    """The picture as uint8 (size, size, 3)."""
    return np.asarray(draw(scene, size))


def _place(canvas: np.ndarray, item: Item) -> None:
    """Draw one thing onto `canvas`, float32 (side, side, 3)."""
    side = len(canvas)
    tile = draw_figure(item, side)
    pixels = np.asarray(tile, np.float32)
    half = len(pixels) // 2
    ticks = (np.arange(len(pixels), dtype=np.float32) - half) / (item.r * side)  # the thing's own coordinates
    x, y = ticks[None], ticks[:, None]
    colors = _material(pixels[..., :3], item, x, y) * _light(x, y)
    there = pixels[..., 3] > 0
    left, top = round(item.x * side) - half, round(item.y * side) - half
    inner = np.s_[max(0, -top) : side - top, max(0, -left) : side - left]
    rows = np.s_[max(0, top) : top + len(pixels), max(0, left) : left + len(pixels)]
    shadow = pixels[..., 3] == 1  # how `figures` marks it
    region = canvas[rows]
    region[shadow[inner]] *= _STANDING_SHADOW
    body = (there & ~shadow)[inner]
    region[body] = colors[inner][body]


def _light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From the upper left, and a soft highlight there; (rows, columns, 1)."""
    slope = 1.0 - 0.09 * (x + y)
    shine = 0.10 * np.exp(-((x + 0.35) ** 2 + (y + 0.4) ** 2) / 0.12)
    return (slope + shine)[..., None]


def _material(colors: np.ndarray, item: Item, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Patterns on what has the thing's own color, not on its wheels and windows."""
    if item.material == "plain":
        return colors
    own = (colors == np.array(COLORS[item.color][0], np.float32)).all(-1)
    if item.material == "metallic":  # bands of light, as on a polished cylinder
        bands = 1 + 0.34 * np.sin(5.2 * (x - 0.35 * y)) + 0.12 * np.sin(10.4 * (x - 0.35 * y) + 1)
        sheen = 60 * np.clip(bands - 1.1, 0, 1)
        changed = colors * bands[..., None] + sheen[..., None]
    else:
        if item.material == "striped":
            pattern = np.mod(y + 0.2 * x, 0.5) < 0.21
        else:
            near = np.hypot(np.mod(x, 0.46) - 0.23, np.mod(y, 0.46) - 0.23)
            pattern = near < 0.125
        light = float(np.mean(COLORS[item.color][0])) > 190
        other = colors * 0.45 if light else colors + (255 - colors) * 0.72
        changed = np.where(pattern[..., None], other, colors)
    return np.where(own[..., None], changed, colors)


@lru_cache(maxsize=16)
def _background(name: str, side: int) -> np.ndarray:
    """Float32 (side, side, 3), not to be written to."""
    x = np.linspace(0, 1, side, dtype=np.float32)[None]
    y = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    if name in PLACES:
        return {"grass": _grass, "sea": _sea, "night": _night}[name](x, y)
    plain = np.array(COLORS[name][0], np.float32)
    return (plain * (1.03 - 0.07 * (0.6 * y + 0.4 * x))[..., None]).astype(np.float32)


def _blend(low: tuple[int, int, int], high: tuple[int, int, int], share: np.ndarray) -> np.ndarray:
    """`low` where `share` is 0, `high` where it is 1; (rows, columns, 3)."""
    a, b = np.array(low, np.float32), np.array(high, np.float32)
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def _grass(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sky = _blend((150, 205, 244), (214, 236, 250), y / 0.55 + 0 * x)
    blades = 0.5 + 0.5 * np.sin(2 * np.pi * (9 * x + 0.7 * np.sin(14 * y))) * np.sin(2 * np.pi * 7 * y)
    meadow = _blend((70, 150, 52), (128, 196, 84), 0.75 * blades + 0.25 * (1 - y))
    return np.where((y > 0.55 + 0.02 * np.sin(7 * x))[..., None], meadow, sky).astype(np.float32)


def _sea(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sky = _blend((176, 222, 250), (232, 246, 254), y / 0.4 + 0 * x)
    crests = np.sin(2 * np.pi * (7 * y + 0.16 * np.sin(2 * np.pi * 3 * x)))
    water = _blend((24, 96, 160), (70, 150, 204), 0.5 + 0.5 * crests)
    return np.where((y > 0.4 + 0 * x)[..., None], water, sky).astype(np.float32)


def _night(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sky = _blend((16, 20, 58), (58, 54, 116), y + 0 * x)
    rng = np.random.default_rng(5)
    for sx, sy, r in zip(rng.uniform(0, 1, 14), rng.uniform(0, 0.5, 14), rng.uniform(0.008, 0.014, 14), strict=True):
        sky[np.hypot(x - sx, y - sy) < r] = (250, 246, 214)
    sky[np.hypot(x - 0.88, y - 0.13) < 0.075] = (250, 240, 190)
    hills = (y > 0.9 - 0.03 * np.sin(9 * x))[..., None]
    return np.where(hills, np.array((22, 26, 44), np.float32), sky).astype(np.float32)
