"""The world of difflens-tiny: scenes with known content, their captions, and how often each concept occurs.

A scene is drawn from written frequencies (`COLORS`, `KINDS`, `TASKS`, ...): a long tail, so "common" and "rare" are
known numbers, and the combinations in `HELD_OUT` never occur in training. Drawing itself is in `drawing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# name: (RGB, relative frequency)
COLORS: dict[str, tuple[tuple[int, int, int], float]] = {
    "red": ((214, 39, 40), 6),
    "blue": ((38, 90, 204), 6),
    "green": ((44, 150, 62), 5),
    "yellow": ((248, 212, 44), 5),
    "black": ((30, 30, 34), 4),
    "white": ((246, 246, 244), 4),
    "orange": ((246, 132, 28), 3),
    "purple": ((128, 56, 172), 3),
    "pink": ((250, 146, 190), 2.5),
    "brown": ((126, 78, 44), 2.5),
    "gray": ((138, 140, 146), 1.5),
    "cyan": ((72, 204, 220), 1.5),
}
SHAPES: dict[str, float] = {
    **{"circle": 6, "square": 6, "triangle": 5, "star": 5, "heart": 4},
    **{"ring": 3, "diamond": 2.5, "cross": 2.5, "crescent": 1.5, "arrow": 1.5},
}
ANIMALS: dict[str, float] = {
    **{"dog": 6, "cat": 6, "fish": 4, "bird": 4},
    **{"rabbit": 2.5, "bear": 2.5, "turtle": 1.5, "snail": 1.5},
}
OBJECTS: dict[str, float] = {"house": 4, "tree": 4, "car": 3, "flower": 3, "boat": 1.5, "mushroom": 1.5}
KINDS: dict[str, float] = {**SHAPES, **ANIMALS, **OBJECTS}
WALKERS = ("dog", "cat", "bear")
"""They sit and face the viewer, or walk, seen from the side, where the caption says so."""
MATERIALS: dict[str, float] = {"plain": 76, "striped": 10, "dotted": 8, "metallic": 6}
"""Of shapes and objects that stand alone."""
NAMED_MATERIALS = tuple(material for material in MATERIALS if material != "plain")
"""Those that a caption names."""
PLACES: dict[str, str] = {"grass": "on grass", "sea": "at sea", "night": "at night"}
"""Backgrounds that are no plain color, and how a caption says so."""
BACKGROUNDS = (*COLORS, *PLACES)
TASKS = {"object": 0.44, "pair": 0.24, "relation": 0.2, "count": 0.12}
RELATIONS = ("above", "below", "left of", "right of", "inside")
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}
_SPOTS = {
    1: ((0.5, 0.5),),
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.27, 0.73), (0.73, 0.73)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}
HOLDERS = ("circle", "square", "diamond", "heart")
"""Only full, plain outlines can hold something visibly."""
_PLACE_SHARE = 0.2
LOST_IN = {"grass": ("green", "cyan"), "sea": ("blue", "cyan"), "night": ("black", "blue", "purple")}
"""The colors that are not seen well in a place: no thing there has them."""

# (color, kind) pairs that are never drawn for training, of common and of rare parts
HELD_OUT = frozenset(
    {
        *[("purple", "star"), ("orange", "square"), ("pink", "heart"), ("brown", "circle"), ("green", "ring")],
        *[("blue", "triangle"), ("cyan", "cross"), ("pink", "dog"), ("green", "cat"), ("red", "fish")],
        *[("black", "bird"), ("yellow", "rabbit"), ("purple", "bear"), ("blue", "house"), ("red", "tree")],
        *[("white", "car"), ("orange", "flower")],
    }
)

_NATURAL = ("brown", "black", "white", "orange", "gray")  # what a colorless "a dog" looks like
_PREFIXES = (("", 0.5), ("a photo of ", 0.3), ("a picture of ", 0.2))


@dataclass(frozen=True)
class Markings:
    """What tells one animal from another of its kind; captions never mention it.

    `ears` and `patch` are color names; None means ears in the fur's color, and no patch.
    """

    ears: str | None = None
    patch: str | None = None


@dataclass(frozen=True)
class Item:
    """One thing in a scene; `x`, `y` (centre) and `r` (half its extent) are fractions of the picture's side."""

    kind: str
    color: str
    x: float
    y: float
    r: float
    markings: Markings = Markings()
    material: str = "plain"
    walking: bool = False


@dataclass(frozen=True)
class Scene:
    """Everything that is true of one picture, and the caption that tells some of it.

    `background` is one of `BACKGROUNDS`.
    """

    items: tuple[Item, ...]
    background: str
    task: str
    caption: str
    relation: str | None = None

    @property
    def count(self) -> int:
        """How many copies of the first item's kind there are."""
        return sum(item.kind == self.items[0].kind for item in self.items)


def _pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    p = np.array(list(weights.values()), dtype=float)
    return list(weights)[rng.choice(len(p), p=p / p.sum())]


def _pick_color(rng: np.random.Generator, exclude: set[str] | None = None) -> str:
    return _pick(rng, {name: weight for name, (_, weight) in COLORS.items() if name not in (exclude or set())})


def _pick_background(rng: np.random.Generator, colors: set[str]) -> str:
    """A place, or a color that none of the things has."""
    places = [place for place in PLACES if not colors & {*LOST_IN[place]}]
    if places and rng.random() < _PLACE_SHARE:
        return places[rng.integers(len(places))]
    return _pick_color(rng, colors)


def _pick_thing(rng: np.random.Generator, held_out: bool, exclude_kind: str = "") -> tuple[str, str]:
    """A (color, kind) pair, of the held-out ones or of all others."""
    if held_out:
        pairs = sorted(pair for pair in HELD_OUT if pair[1] != exclude_kind)
        return pairs[rng.integers(len(pairs))]
    while True:
        kind = _pick(rng, KINDS)
        color = _pick_color(rng)
        if kind != exclude_kind and (color, kind) not in HELD_OUT:
            return color, kind


def _pick_markings(rng: np.random.Generator, kind: str, fur: str) -> Markings:
    if kind not in ANIMALS or rng.random() < 0.6:
        return Markings()
    ears = _pick_color(rng, {fur}) if rng.random() < 0.6 else None
    patch = _pick_color(rng, {fur}) if rng.random() < 0.5 else None
    return Markings(ears, patch)


def plural(kind: str) -> str:
    """The plural of a kind: `fish`, `foxes`-like endings included."""
    if kind == "fish":
        return "fish"
    return kind + ("es" if kind.endswith(("s", "x")) else "s")


def article(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def surroundings(background: str) -> str:
    """How a caption tells a background: "on a red background", "at sea"."""
    return PLACES.get(background) or f"on {article(background)} background"


def _layout(rng: np.random.Generator, task: str, relation: str | None, count: int) -> list[tuple[float, float, float]]:
    """Centres and radii: never overlapping, except for `inside`.

    A kind of scene has its usual places, a little off by chance: with things anywhere, a small U-Net had to find them
    in the noise before it could tell a circle from a star, and 340,000 pictures did not teach it that.
    """
    u = rng.uniform

    def near(x: float, y: float, r: float, off: float = 0.03) -> tuple[float, float, float]:
        return x + u(-off, off), y + u(-off, off), r

    if task == "object":
        size = _pick(rng, {"small": 0.12, "medium": 0.66, "big": 0.22})
        return [near(0.5, 0.5, {"small": u(0.21, 0.24), "medium": u(0.3, 0.34), "big": u(0.39, 0.42)}[size])]
    if task == "count":
        r = u(0.27, 0.31) if count == 1 else u(0.18, 0.2)
        return [near(x, y, r, 0.02) for x, y in _SPOTS[count]]
    if relation == "inside":
        r = u(0.39, 0.43)
        x, y, _ = near(0.5, 0.5, r, 0.02)
        return [(x, y, 0.4 * r), (x, y, r)]
    first, second = near(0.27, 0.5, u(0.19, 0.22), 0.025), near(0.73, 0.5, u(0.19, 0.22), 0.025)
    if relation in ("above", "below"):
        first, second = (first[1], first[0], first[2]), (second[1], second[0], second[2])
    return [second, first] if relation in ("below", "right of") else [first, second]


def sample_scene(
    rng: np.random.Generator,
    task: str | None = None,
    *,
    relation: str | None = None,
    held_out: bool = False,
    explicit: bool = False,
    material: str | None = None,
) -> Scene:
    """Draw one scene at random.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of chance: equal generators give equal scenes.
    task : one of `TASKS`, optional
        The kind of scene; by default drawn with the frequencies of `TASKS`.
    relation : one of `RELATIONS`, optional
        For the task "relation"; by default all are equally frequent.
    held_out : bool
        Make the first item one of the combinations of `HELD_OUT`, instead of avoiding them.
    explicit : bool
        Name every color and the background in the caption, as the prompts that are scored do; otherwise some
        captions leave something out, as people do.
    material : one of `MATERIALS`, optional
        For the task "object": of this material (a shape or an object, then); by default drawn with its frequencies.
    """
    task = task or _pick(rng, TASKS)
    things = [_pick_thing(rng, held_out)]
    while material not in (None, "plain") and things[0][1] in ANIMALS:
        things = [_pick_thing(rng, held_out)]
    count = 1
    if task != "relation":
        relation = None
    if task in ("pair", "relation"):
        things.append(_pick_thing(rng, False, things[0][1]))
        while things[1][0] == things[0][0]:
            things[1] = _pick_thing(rng, False, things[0][1])
    if task == "relation":
        drawn = RELATIONS[rng.integers(len(RELATIONS))]
        relation = relation or drawn
        if relation == "inside":
            holders = [k for k in HOLDERS if k != things[0][1] and (things[1][0], k) not in HELD_OUT]
            things[1] = (things[1][0], holders[rng.integers(len(holders))])
    if task == "count":
        count = int(rng.integers(1, 5))

    natural = not (explicit or held_out) and task == "object" and things[0][1] in ANIMALS and rng.random() < 0.15
    if natural:
        allowed = [color for color in _NATURAL if (color, things[0][1]) not in HELD_OUT]
        things = [(allowed[rng.integers(len(allowed))], things[0][1])]
    if task != "object" or things[0][1] in ANIMALS:
        material = "plain"
    elif material is None:
        material = _pick(rng, MATERIALS)
    walking = task == "object" and things[0][1] in WALKERS and rng.random() < 0.3
    background = _pick_background(rng, {color for color, _ in things})
    places = _layout(rng, task, relation, count)
    pairs = things * count if task == "count" else things
    items = tuple(
        Item(kind, color, x, y, r, _pick_markings(rng, kind, color), material, walking)
        for (color, kind), (x, y, r) in zip(pairs, places, strict=True)
    )
    scene = Scene(items, background, task, "", relation)
    return replace(scene, caption=_caption(rng, scene, explicit, natural))


def _caption(rng: np.random.Generator, scene: Scene, explicit: bool, natural: bool) -> str:
    names = [f"{item.color} {item.kind}" for item in scene.items]
    first = scene.items[0]
    if scene.task == "count":
        kind = first.kind if scene.count == 1 else plural(first.kind)
        phrase = f"{COUNTS[scene.count]} {first.color} {kind}"
    elif scene.task == "object":
        phrase = first.kind if natural else names[0]
        phrase = phrase if first.material == "plain" else f"{first.material} {phrase}"
        phrase = f"walking {phrase}" if first.walking else phrase
        if first.r < 0.25:
            phrase = "small " + phrase
        elif first.r > 0.35:
            phrase = "big " + phrase
        phrase = article(phrase)
    else:
        phrase = f"{article(names[0])} {scene.relation or 'and'} {article(names[1])}"
    if explicit:
        return f"{phrase} {surroundings(scene.background)}"
    prefix = _PREFIXES[rng.choice(3, p=[weight for _, weight in _PREFIXES])][0]
    suffix = f" {surroundings(scene.background)}" if rng.random() < 0.8 else ""
    return prefix + phrase + suffix


def training_scene(seed: int, index: int) -> Scene:
    """Scene number `index` of the endless training set of `seed`; never a held-out combination."""
    return sample_scene(np.random.default_rng([seed, index]))
