"""A pen for a thing's own coordinates and colors: its center is (0, 0), its edge at distance 1, y points down."""

from __future__ import annotations

from PIL import ImageDraw

from .scenes import COLORS, Item

Rgb = tuple[int, int, int]
DARK, WHITE, NOSE = (24, 24, 28), (252, 252, 250), (236, 112, 136)
_SHADOW = (0, 0, 0, 1)  # told from drawn parts by its alpha


def shade(color: Rgb, factor: float) -> Rgb:
    """Darken (< 1) or lighten (> 1: towards white) a color."""
    if factor <= 1:
        return tuple(int(c * factor) for c in color)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in color)  # type: ignore[return-value]


class Pen:
    """Draws the parts of one thing.

    Attributes
    ----------
    own, deep, pale : Rgb
        Its color, and that color darker and lighter.
    ears : Rgb
    patch : Rgb or None
        Its markings.
    """

    def __init__(self, draw: ImageDraw.ImageDraw, half: int, scale: float, item: Item) -> None:
        self.draw, self.half, self.scale, self.item = draw, half, scale, item
        self.own = COLORS[item.color][0]
        # parts of its own in another shade: darker, but lighter on black
        self.deep = shade(self.own, 1.32) if item.color == "black" else shade(self.own, 0.68)
        self.pale = shade(self.own, 0.86) if item.color == "white" else shade(self.own, 1.5)
        self.ears = COLORS[item.markings.ears][0] if item.markings.ears else self.deep
        self.patch = COLORS[item.markings.patch][0] if item.markings.patch else None

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel coordinates of a point."""
        return self.half + x * self.scale, self.half + y * self.scale

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: tuple[int, ...]) -> None:
        """Fill an ellipse around (x, y)."""
        self.draw.ellipse([*self.at(x - rx, y - ry), *self.at(x + rx, y + ry)], fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: tuple[int, ...], radius: float = 0.0) -> None:
        """Fill a box, its corners rounded by `radius`."""
        self.draw.rounded_rectangle([*self.at(x0, y0), *self.at(x1, y1)], radius * self.scale, fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: Rgb) -> None:
        """Fill a polygon."""
        self.draw.polygon([self.at(x, y) for x, y in points], fill=fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Rgb) -> None:
        """Draw a line of some width."""
        self.draw.line([self.at(x, y) for x, y in points], fill=fill, width=max(1, round(width * self.scale)))

    def mirrored(self, points: list[tuple[float, float]], fill: Rgb) -> None:
        """Fill a polygon and its mirror image."""
        self.polygon(points, fill)
        self.polygon([(-x, y) for x, y in points], fill)

    def shadow(self, y: float = 0.97, width: float = 0.8) -> None:
        """Cast the shadow that the thing stands on."""
        self.ellipse(0.06, y, width, 0.13, _SHADOW)

    def eye(self, x: float, y: float, r: float = 0.14) -> None:
        """Draw an eye."""
        self.ellipse(x, y, r, r, WHITE)
        self.ellipse(x, y + 0.01, r * 0.62, r * 0.62, DARK)
        self.ellipse(x - r * 0.2, y - r * 0.25, r * 0.22, r * 0.22, WHITE)
