"""The figures of the world, flat: ten shapes, eight animals with individual markings, six objects.

Each function draws in a thing's own coordinates: its centre is (0, 0), its edge at distance 1, y points down.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from .pen import DARK, NOSE, WHITE, Pen, Rgb, shade
from .scenes import Item

REACH = 1.3  # a tile's half side, in radii


def draw_figure(item: Item, side: int) -> Image.Image:
    """An RGBA tile with the thing in its middle; alpha is 255 where it is, 1 where it casts a shadow."""
    half = math.ceil(REACH * item.r * side)
    tile = Image.new("RGBA", (2 * half + 1, 2 * half + 1))
    pen = Pen(ImageDraw.Draw(tile), half, item.r * side, item)
    if item.kind in _OUTLINES:
        pen.polygon(_OUTLINES[item.kind], pen.own)
    else:
        _FIGURES[item.kind](pen)
    return tile


def _regular(n: int, radii: tuple[float, ...], turn: float = -math.pi / 2) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * i / n for i in range(n)]
    return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(angles)]


def _heart() -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * math.pi, 90)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return list(zip(x / 16.5, (y - 2.5) / 15, strict=True))


def _crescent() -> list[tuple[float, float]]:
    outer = np.linspace(0.25 * math.pi, 1.75 * math.pi, 60)
    inner = np.linspace(1.68 * math.pi, 0.32 * math.pi, 60)
    points = [(0.95 * math.cos(a) + 0.15, 0.95 * math.sin(a)) for a in outer]
    return points + [(0.72 * math.cos(a) + 0.45, 0.76 * math.sin(a)) for a in inner]


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)],
    "triangle": [(0, -0.95), (1, 0.82), (-1, 0.82)],
    "star": _regular(10, (1.08, 0.44)),
    "heart": _heart(),
    "diamond": [(0, -1.08), (0.7, 0), (0, 1.08), (-0.7, 0)],
    "cross": [
        *[(-0.32, -0.95), (0.32, -0.95), (0.32, -0.32), (0.95, -0.32), (0.95, 0.32), (0.32, 0.32)],
        *[(0.32, 0.95), (-0.32, 0.95), (-0.32, 0.32), (-0.95, 0.32), (-0.95, -0.32), (-0.32, -0.32)],
    ],
    "crescent": _crescent(),
    "arrow": [(-1, -0.27), (0.1, -0.27), (0.1, -0.72), (1.02, 0), (0.1, 0.72), (0.1, 0.27), (-1, 0.27)],
}


def _circle(p: Pen) -> None:
    p.ellipse(0, 0, 0.95, 0.95, p.own)


def _ring(p: Pen) -> None:
    p.ellipse(0, 0, 0.97, 0.97, p.own)
    p.ellipse(0, 0, 0.52, 0.52, (0, 0, 0, 0))


def _sitting(p: Pen) -> None:
    """Body, paws, head and patch of an animal that faces the viewer."""
    p.shadow()
    p.ellipse(0, 0.58, 0.6, 0.44, p.own)
    p.ellipse(0, 0.66, 0.3, 0.32, p.pale)
    for side in (-1, 1):
        p.ellipse(side * 0.3, 0.94, 0.2, 0.12, p.deep)
    p.ellipse(0, -0.2, 0.68, 0.58, p.own)
    if p.patch:
        p.ellipse(-0.29, -0.24, 0.26, 0.3, p.patch)


def _face(p: Pen, muzzle: float, nose: Rgb) -> None:
    p.eye(-0.28, -0.24)
    p.eye(0.28, -0.24)
    p.ellipse(0, 0.09, muzzle, muzzle * 0.72, p.pale)
    p.ellipse(0, 0.02, 0.12, 0.085, nose)


def _walking(p: Pen, tail: list[tuple[float, float]]) -> None:
    """Body, legs and tail of an animal seen from the side, going left; its head is drawn afterwards."""
    p.shadow()
    for x in (-0.42, -0.14, 0.34, 0.62):
        p.box(x - 0.1, 0.3, x + 0.1, 0.97, p.deep if x in (-0.14, 0.62) else p.own, 0.08)
    p.line(tail, 0.15, p.ears)
    p.ellipse(0.14, 0.24, 0.7, 0.38, p.own)
    if p.patch:
        p.ellipse(0.3, 0.16, 0.26, 0.22, p.patch)


def _dog(p: Pen) -> None:
    if p.item.walking:
        _walking(p, [(0.75, 0.1), (1.05, -0.3)])
        p.ellipse(-0.52, -0.26, 0.42, 0.4, p.own)
        p.ellipse(-0.86, -0.14, 0.24, 0.18, p.pale)
        p.ellipse(-1.02, -0.2, 0.09, 0.08, DARK)
        p.ellipse(-0.3, -0.18, 0.17, 0.4, p.ears)
        p.eye(-0.66, -0.36, 0.12)
        return
    _sitting(p)
    for side in (-1, 1):  # hanging ears
        p.ellipse(side * 0.68, -0.14, 0.2, 0.5, p.ears)
    _face(p, 0.3, DARK)


def _cat(p: Pen) -> None:
    if p.item.walking:
        _walking(p, [(0.72, 0.1), (0.98, -0.25), (0.88, -0.75)])
        p.polygon([(-0.86, -0.45), (-0.8, -1.0), (-0.5, -0.6)], p.ears)
        p.polygon([(-0.5, -0.6), (-0.24, -1.0), (-0.18, -0.4)], p.ears)
        p.ellipse(-0.52, -0.26, 0.42, 0.4, p.own)
        p.eye(-0.68, -0.32, 0.12)
        p.eye(-0.36, -0.32, 0.12)
        p.ellipse(-0.54, -0.1, 0.08, 0.06, NOSE)
        return
    p.mirrored([(0.08, -0.6), (0.62, -1.12), (0.68, -0.25)], p.ears)
    _sitting(p)
    _face(p, 0.17, NOSE)
    for side in (-1, 1):  # whiskers
        for y in (0.02, 0.16):
            p.line([(side * 0.22, 0.1), (side * 0.9, y - 0.03)], 0.045, p.deep)


def _rabbit(p: Pen) -> None:
    for side in (-1, 1):  # tall ears
        p.ellipse(side * 0.26, -0.74, 0.17, 0.42, p.ears)
        p.ellipse(side * 0.26, -0.72, 0.08, 0.28, NOSE)
    _sitting(p)
    _face(p, 0.19, NOSE)


def _bear(p: Pen) -> None:
    if p.item.walking:
        _walking(p, [(0.8, 0.1), (0.9, 0.06)])
        for x in (-0.78, -0.3):
            p.ellipse(x, -0.58, 0.17, 0.17, p.ears)
        p.ellipse(-0.54, -0.24, 0.46, 0.43, p.own)
        p.ellipse(-0.78, -0.1, 0.25, 0.2, p.pale)
        p.ellipse(-0.92, -0.16, 0.1, 0.08, DARK)
        p.eye(-0.6, -0.34, 0.11)
        return
    for side in (-1, 1):  # round ears
        p.ellipse(side * 0.54, -0.68, 0.27, 0.27, p.ears)
        p.ellipse(side * 0.54, -0.68, 0.13, 0.13, p.pale)
    _sitting(p)
    _face(p, 0.34, DARK)


def _fish(p: Pen) -> None:
    p.polygon([(0.4, 0), (1.05, -0.56), (0.9, 0), (1.05, 0.56)], p.ears)  # the tail bears the "ear" color
    p.polygon([(-0.3, -0.4), (0.3, -0.82), (0.42, -0.2)], p.ears)
    p.ellipse(-0.2, 0, 0.82, 0.52, p.own)
    p.ellipse(-0.2, 0.26, 0.55, 0.2, p.pale)
    if p.patch:
        p.ellipse(0.14, -0.06, 0.22, 0.26, p.patch)
    p.eye(-0.62, -0.1)
    p.line([(-0.3, -0.22), (-0.24, 0), (-0.3, 0.24)], 0.06, p.deep)


def _bird(p: Pen) -> None:
    for x in (-0.05, 0.22):
        p.line([(x, 0.6), (x, 1.0)], 0.09, (240, 150, 30))
    p.polygon([(0.4, 0.1), (1.08, -0.32), (1.0, 0.3)], p.deep)
    p.ellipse(0.1, 0.2, 0.7, 0.52, p.own)
    p.ellipse(-0.42, -0.42, 0.43, 0.41, p.own)
    p.polygon([(-0.78, -0.55), (-1.14, -0.34), (-0.78, -0.2)], (250, 170, 30))  # beak
    p.ellipse(0.24, 0.16, 0.42, 0.26, p.ears)  # the wing bears the "ear" color
    if p.patch:
        p.ellipse(-0.24, 0.4, 0.22, 0.18, p.patch)
    p.eye(-0.5, -0.46)


def _turtle(p: Pen) -> None:
    p.shadow(0.72, 0.9)
    for x in (-0.5, 0.42):
        p.box(x - 0.16, 0.3, x + 0.16, 0.72, p.pale, 0.12)
    p.ellipse(-0.86, -0.02, 0.27, 0.25, p.pale)
    p.polygon([(0.7, 0.3), (1.08, 0.46), (0.7, 0.46)], p.pale)
    p.draw.pieslice([*p.at(-0.78, -0.72), *p.at(0.86, 1.5)], 180, 360, fill=p.own)  # the shell
    p.box(-0.82, 0.32, 0.9, 0.48, p.ears, 0.07)
    for x, y in ((-0.32, 0.08), (0.12, -0.3), (0.46, 0.1)):
        p.ellipse(x, y, 0.17, 0.15, p.patch or p.deep)
    p.eye(-0.92, -0.06, 0.1)


def _snail(p: Pen) -> None:
    p.shadow(0.84, 0.9)
    p.box(-0.98, 0.5, 1.02, 0.82, p.pale, 0.16)
    p.ellipse(-0.82, 0.34, 0.22, 0.42, p.pale)
    for x in (-1.0, -0.7):
        p.line([(-0.84, 0.1), (x, -0.46)], 0.07, p.pale)
        p.ellipse(x, -0.5, 0.11, 0.11, DARK)
    p.ellipse(0.2, 0.02, 0.68, 0.66, p.own)  # the shell and its windings
    p.ellipse(0.24, 0.08, 0.46, 0.45, p.ears)
    p.ellipse(0.22, 0.04, 0.3, 0.3, p.own)
    p.ellipse(0.24, 0.07, 0.14, 0.14, p.patch or p.ears)


def _house(p: Pen) -> None:
    p.shadow(0.93, 0.86)
    p.box(-0.74, -0.15, 0.74, 0.95, p.own)
    p.polygon([(0, -1.02), (1.02, -0.08), (-1.02, -0.08)], p.deep)
    p.box(-0.2, 0.34, 0.2, 0.95, shade(p.deep, 0.6) if p.item.color != "black" else (110, 110, 116))
    for x in (-0.5, 0.5):
        p.box(x - 0.16, 0.12, x + 0.16, 0.44, (255, 240, 170))


def _tree(p: Pen) -> None:
    p.shadow(0.97, 0.5)
    p.box(-0.15, 0.2, 0.15, 1.0, (112, 74, 44))
    for x, y, r in ((-0.42, 0.06, 0.44), (0.42, 0.06, 0.44), (0, -0.48, 0.52), (0, 0.0, 0.5)):
        p.ellipse(x, y, r, r, p.own)
    for x, y in ((-0.34, -0.02), (0.24, -0.5), (0.36, 0.14)):
        p.ellipse(x, y, 0.12, 0.09, p.deep)


def _car(p: Pen) -> None:
    p.shadow(0.68, 1.0)
    p.polygon([(-0.62, 0.02), (-0.38, -0.52), (0.36, -0.52), (0.66, 0.02)], p.own)
    p.polygon([(-0.46, 0.0), (-0.3, -0.4), (-0.04, -0.4), (-0.04, 0.0)], (206, 232, 246))
    p.polygon([(0.06, 0.0), (0.06, -0.4), (0.3, -0.4), (0.48, 0.0)], (206, 232, 246))
    p.box(-1.04, -0.02, 1.04, 0.48, p.own, 0.14)
    p.ellipse(-0.94, 0.16, 0.09, 0.09, (255, 240, 150))
    for x in (-0.54, 0.54):
        p.ellipse(x, 0.46, 0.27, 0.27, DARK if p.item.color != "black" else (92, 92, 98))
        p.ellipse(x, 0.46, 0.12, 0.12, (200, 200, 206))


def _flower(p: Pen) -> None:
    p.line([(0, 0.1), (0, 1.04)], 0.12, (52, 128, 48))
    p.ellipse(0.26, 0.78, 0.26, 0.11, (72, 158, 62))
    p.ellipse(-0.26, 0.66, 0.26, 0.11, (72, 158, 62))
    for x, y in _regular(6, (0.46,)):
        p.ellipse(x, y - 0.3, 0.31, 0.31, p.own)
    p.ellipse(0, -0.3, 0.25, 0.25, (250, 206, 60) if p.item.color not in ("yellow", "orange") else (126, 70, 30))


def _boat(p: Pen) -> None:
    p.line([(0, -1.0), (0, 0.4)], 0.09, (112, 74, 44))
    p.polygon([(0.1, -0.98), (0.1, 0.24), (0.86, 0.24)], p.pale)
    p.polygon([(-0.1, -0.8), (-0.1, 0.24), (-0.66, 0.24)], p.pale)
    p.polygon([(-1.04, 0.36), (1.04, 0.36), (0.7, 0.92), (-0.7, 0.92)], p.own)
    p.polygon([(-1.04, 0.36), (1.04, 0.36), (0.96, 0.5), (-0.96, 0.5)], p.deep)


def _mushroom(p: Pen) -> None:
    p.shadow(0.96, 0.5)
    p.box(-0.26, 0.0, 0.26, 0.97, (244, 232, 208), 0.16)
    p.draw.pieslice([*p.at(-0.98, -0.92), *p.at(0.98, 1.06)], 180, 360, fill=p.own)
    p.ellipse(0, 0.07, 0.98, 0.14, p.own)
    spots = WHITE if p.item.color != "white" else (214, 60, 54)
    for x, y, r in ((-0.46, -0.3, 0.16), (0.1, -0.58, 0.17), (0.5, -0.2, 0.14), (-0.02, -0.14, 0.11)):
        p.ellipse(x, y, r, r * 0.85, spots)


_FIGURES: dict[str, Callable[[Pen], None]] = {
    **{"circle": _circle, "ring": _ring},
    **{"dog": _dog, "cat": _cat, "rabbit": _rabbit, "bear": _bear, "fish": _fish, "bird": _bird},
    **{"turtle": _turtle, "snail": _snail},
    **{"house": _house, "tree": _tree, "car": _car, "flower": _flower, "boat": _boat, "mushroom": _mushroom},
}
