"""Draws a scene: smooth outlines by supersampling, animals with ears, eyes and individual markings."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .scenes import ANIMALS, COLOURS, Item, Scene

_SUPERSAMPLING = 4


def draw(scene: Scene, size: int = 64) -> Image.Image:
    """Draw a scene as an RGB picture of `size` × `size` pixels."""
    side = size * _SUPERSAMPLING
    image = Image.new("RGB", (side, side), COLOURS[scene.background][0])
    pen = ImageDraw.Draw(image)
    for item in sorted(scene.items, key=lambda item: -item.r):  # large first: what is inside stays visible
        if item.kind in ANIMALS:
            _ANIMAL_DRAWERS[item.kind](_Canvas(pen, side, item))
        else:
            _draw_shape(_Canvas(pen, side, item))
    return image.reduce(_SUPERSAMPLING)


def draw_array(scene: Scene, size: int = 64) -> np.ndarray:
    """The picture as uint8 (size, size, 3)."""
    return np.asarray(draw(scene, size))


def _shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    """Darken (< 1) or lighten (> 1: towards white) a colour."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


class _Canvas:
    """Draws in an item's own coordinates: its centre is (0, 0), its edge at distance 1, y points down."""

    def __init__(self, pen: ImageDraw.ImageDraw, side: int, item: Item) -> None:
        self.pen, self.side, self.item = pen, side, item
        self.fur = COLOURS[item.colour][0]
        # a colour of its own for edges: darker, but lighter on black
        self.line = _shade(self.fur, 1.35) if item.colour == "black" else _shade(self.fur, 0.72)
        self.ears = COLOURS[item.markings.ears][0] if item.markings.ears else self.line
        self.patch = COLOURS[item.markings.patch][0] if item.markings.patch else None

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (self.item.x + x * self.item.r) * self.side, (self.item.y + y * self.item.r) * self.side

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        self.pen.ellipse([*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)], fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        self.pen.polygon([self.at(x, y) for x, y in points], fill=fill)

    def eye(self, x: float, y: float, r: float = 0.13) -> None:
        self.ellipse(x, y, r, r, (255, 255, 255))
        self.ellipse(x, y + 0.01, r * 0.62, r * 0.62, (20, 20, 24))

    def mirrored(self, points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        self.polygon(points, fill)
        self.polygon([(-x, y) for x, y in points], fill)


def _regular(n: int, radii: tuple[float, ...], turn: float = -math.pi / 2) -> list[tuple[float, float]]:
    return [
        (
            radii[i % len(radii)] * math.cos(turn + 2 * math.pi * i / n),
            radii[i % len(radii)] * math.sin(turn + 2 * math.pi * i / n),
        )
        for i in range(n)
    ]


def _heart() -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * math.pi, 60)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return list(zip(x / 17, (y + 2.5) / 15.5, strict=True))


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -0.95), (1, 0.8), (-1, 0.8)],
    "star": _regular(10, (1.05, 0.44)),
    "heart": _heart(),
    "diamond": [(0, -1.05), (0.72, 0), (0, 1.05), (-0.72, 0)],
    "cross": [
        *[(-0.32, -0.95), (0.32, -0.95), (0.32, -0.32), (0.95, -0.32), (0.95, 0.32), (0.32, 0.32)],
        *[(0.32, 0.95), (-0.32, 0.95), (-0.32, 0.32), (-0.95, 0.32), (-0.95, -0.32), (-0.32, -0.32)],
    ],
}


def _draw_shape(c: _Canvas) -> None:
    if c.item.kind == "circle":
        c.ellipse(0, 0, 0.95, 0.95, c.fur)
    elif c.item.kind == "ring":
        corners = [*c.at(-0.95, -0.95), *c.at(0.95, 0.95)]
        c.pen.ellipse(corners, outline=c.fur, width=round(0.36 * c.item.r * c.side))
    else:
        c.polygon(_OUTLINES[c.item.kind], c.fur)


def _sitting(c: _Canvas) -> None:
    """Body, head and patch shared by the animals that face the viewer."""
    c.ellipse(0, 0.62, 0.6, 0.42, c.fur)
    c.ellipse(0.0, 0.72, 0.26, 0.26, _shade(c.fur, 1.4))
    c.ellipse(0, -0.12, 0.66, 0.58, c.fur)
    if c.patch:
        c.ellipse(-0.27, -0.16, 0.26, 0.3, c.patch)


def _face(c: _Canvas, muzzle: float, nose: tuple[int, int, int]) -> None:
    c.eye(-0.26, -0.16)
    c.eye(0.26, -0.16)
    c.ellipse(0, 0.17, muzzle, muzzle * 0.75, _shade(c.fur, 1.55))
    c.ellipse(0, 0.1, 0.12, 0.09, nose)


def _dog(c: _Canvas) -> None:
    _sitting(c)
    for side in (-1, 1):  # hanging ears
        c.ellipse(side * 0.66, -0.08, 0.2, 0.5, c.ears)
    _face(c, 0.28, (24, 24, 28))


def _cat(c: _Canvas) -> None:
    c.mirrored([(0.1, -0.55), (0.62, -1.02), (0.66, -0.2)], c.ears)
    _sitting(c)
    _face(c, 0.16, (240, 120, 140))
    for side in (-1, 1):  # whiskers
        for y in (0.12, 0.24):
            ends = [c.at(side * 0.2, 0.18), c.at(side * 0.86, y - 0.02)]
            c.pen.line(ends, fill=c.line, width=max(1, round(0.05 * c.item.r * c.side)))


def _rabbit(c: _Canvas) -> None:
    for side in (-1, 1):  # tall ears
        c.ellipse(side * 0.26, -0.72, 0.16, 0.42, c.ears)
    _sitting(c)
    _face(c, 0.18, (240, 120, 140))


def _bear(c: _Canvas) -> None:
    for side in (-1, 1):  # round ears
        c.ellipse(side * 0.5, -0.58, 0.25, 0.25, c.ears)
    _sitting(c)
    _face(c, 0.32, (24, 24, 28))


def _fish(c: _Canvas) -> None:
    c.polygon([(0.4, 0), (1.0, -0.5), (1.0, 0.5)], c.ears)  # the tail bears the "ear" colour
    c.polygon([(-0.2, -0.4), (0.3, -0.75), (0.4, -0.2)], c.ears)
    c.ellipse(-0.18, 0, 0.78, 0.48, c.fur)
    if c.patch:
        c.ellipse(0.12, 0.05, 0.22, 0.24, c.patch)
    c.eye(-0.56, -0.1)


def _bird(c: _Canvas) -> None:
    c.polygon([(0.4, 0.1), (1.0, -0.25), (0.95, 0.3)], c.line)
    c.ellipse(0.08, 0.18, 0.68, 0.5, c.fur)
    c.ellipse(-0.42, -0.38, 0.4, 0.38, c.fur)
    c.polygon([(-0.76, -0.5), (-1.05, -0.32), (-0.76, -0.2)], (250, 170, 30))  # beak
    c.ellipse(0.2, 0.16, 0.38, 0.24, c.ears)  # the wing bears the "ear" colour
    if c.patch:
        c.ellipse(-0.2, 0.36, 0.2, 0.18, c.patch)
    c.eye(-0.5, -0.42)
    for x in (-0.05, 0.2):
        c.pen.line([c.at(x, 0.62), c.at(x, 0.95)], fill=(250, 170, 30), width=max(2, round(0.08 * c.item.r * c.side)))


_ANIMAL_DRAWERS = {"dog": _dog, "cat": _cat, "rabbit": _rabbit, "bear": _bear, "fish": _fish, "bird": _bird}
