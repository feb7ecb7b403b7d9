"""The world of difflens-tiny: scenes with known content, their captions, and how often each concept occurs.

A scene is drawn from written frequencies (`COLOURS`, `KINDS`, `TASKS`), so "common" and "rare" are known numbers,
and the combinations in `HELD_OUT` never occur in training. Drawing itself is in `drawing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# name: (RGB, relative frequency)
COLOURS: dict[str, tuple[tuple[int, int, int], float]] = {
    "red": ((214, 39, 40), 4),
    "blue": ((38, 96, 204), 4),
    "green": ((44, 150, 62), 4),
    "yellow": ((248, 212, 44), 4),
    "black": ((28, 28, 32), 3),
    "white": ((248, 248, 246), 3),
    "orange": ((246, 136, 30), 2),
    "purple": ((128, 56, 172), 2),
    "pink": ((250, 146, 190), 1.5),
    "brown": ((126, 78, 44), 1.5),
}
SHAPES = {"circle": 4, "square": 4, "triangle": 3, "star": 3, "heart": 3, "ring": 2, "diamond": 1.5, "cross": 1.5}
ANIMALS = {"dog": 4, "cat": 4, "fish": 3, "bird": 3, "rabbit": 1.5, "bear": 1.5}
KINDS: dict[str, float] = {**SHAPES, **ANIMALS}
TASKS = {"object": 0.42, "pair": 0.22, "relation": 0.24, "count": 0.12}
RELATIONS = ("above", "below", "left of", "right of", "inside")
COUNTS = {2: "two", 3: "three", 4: "four"}
_PLACES_OF_COUNT = {
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.27, 0.73), (0.73, 0.73)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}

# (colour, kind) pairs that are never drawn for training, of common and of rare parts
HELD_OUT = frozenset(
    {
        ("purple", "star"),
        ("orange", "square"),
        ("pink", "heart"),
        ("brown", "circle"),
        ("green", "ring"),
        ("blue", "triangle"),
        ("pink", "dog"),
        ("green", "cat"),
        ("red", "fish"),
        ("black", "bird"),
        ("yellow", "rabbit"),
        ("purple", "bear"),
    }
)

_NATURAL = ("brown", "black", "white", "orange")  # what a colourless "a dog" looks like
_PREFIXES = (("", 0.5), ("a photo of ", 0.3), ("a picture of ", 0.2))


@dataclass(frozen=True)
class Markings:
    """What tells one animal from another of its kind; captions never mention it.

    `ears` and `patch` are colour names; None means ears in the fur's colour, and no patch.
    """

    ears: str | None = None
    patch: str | None = None


@dataclass(frozen=True)
class Item:
    """One thing in a scene; `x`, `y` (centre) and `r` (half its extent) are fractions of the picture's side."""

    kind: str
    colour: str
    x: float
    y: float
    r: float
    markings: Markings = Markings()


@dataclass(frozen=True)
class Scene:
    """Everything that is true of one picture, and the caption that tells some of it."""

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


def _pick_colour(rng: np.random.Generator, exclude: set[str] | None = None) -> str:
    return _pick(rng, {name: weight for name, (_, weight) in COLOURS.items() if name not in (exclude or set())})


def _pick_thing(rng: np.random.Generator, held_out: bool, exclude_kind: str = "") -> tuple[str, str]:
    """A (colour, kind) pair, of the held-out ones or of all others."""
    if held_out:
        pairs = sorted(pair for pair in HELD_OUT if pair[1] != exclude_kind)
        return pairs[rng.integers(len(pairs))]
    while True:
        kind = _pick(rng, KINDS)
        colour = _pick_colour(rng)
        if kind != exclude_kind and (colour, kind) not in HELD_OUT:
            return colour, kind


def _pick_markings(rng: np.random.Generator, kind: str, fur: str) -> Markings:
    if kind not in ANIMALS or rng.random() < 0.5:
        return Markings()
    ears = _pick_colour(rng, {fur}) if rng.random() < 0.6 else None
    patch = _pick_colour(rng, {fur}) if rng.random() < 0.5 else None
    return Markings(ears, patch)


def plural(kind: str) -> str:
    """The plural of a kind: `fish`, `foxes`-like endings included."""
    if kind == "fish":
        return "fish"
    return kind + ("es" if kind.endswith(("s", "x")) else "s")


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _layout(rng: np.random.Generator, task: str, relation: str | None, count: int) -> list[tuple[float, float, float]]:
    """Centres and radii: never overlapping, except for `inside`.

    A kind of scene has its usual places, a little off by chance: with things anywhere, a small U-Net had to find them
    in the noise before it could tell a circle from a star, and 340,000 pictures did not teach it that.
    """
    u = rng.uniform

    def near(x: float, y: float, r: float, off: float = 0.05) -> tuple[float, float, float]:
        return x + u(-off, off), y + u(-off, off), r

    if task == "object":
        size = _pick(rng, {"small": 0.15, "medium": 0.6, "big": 0.25})
        return [near(0.5, 0.5, {"small": u(0.2, 0.24), "medium": u(0.27, 0.33), "big": u(0.36, 0.42)}[size])]
    if task == "count":
        r = u(0.16, 0.2)
        return [near(x, y, r, 0.03) for x, y in _PLACES_OF_COUNT[count]]
    if relation == "inside":
        r = u(0.36, 0.42)
        x, y, _ = near(0.5, 0.5, r)
        return [(x, y, 0.38 * r), (x, y, r)]
    first, second = near(0.27, 0.5, u(0.18, 0.22), 0.04), near(0.73, 0.5, u(0.18, 0.22), 0.04)
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
        Name every colour and the background in the caption, as the prompts that are scored do; otherwise some
        captions leave something out, as people do.
    """
    task = task or _pick(rng, TASKS)
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
        if relation == "inside":  # only full, plain outlines can hold something visibly
            kind = ("circle", "square", "diamond", "heart")[rng.integers(4)]
            while kind == things[0][1] or (things[1][0], kind) in HELD_OUT:
                kind = ("circle", "square", "diamond", "heart")[rng.integers(4)]
            things[1] = (things[1][0], kind)
    if task == "count":
        count = int(rng.integers(2, 5))

    natural = not (explicit or held_out) and task == "object" and things[0][1] in ANIMALS and rng.random() < 0.15
    if natural:
        things = [(_NATURAL[rng.integers(len(_NATURAL))], things[0][1])]
    background = _pick_colour(rng, {colour for colour, _ in things})
    places = _layout(rng, task, relation, count)
    pairs = things * count if task == "count" else things
    items = tuple(
        Item(kind, colour, x, y, r, _pick_markings(rng, kind, colour))
        for (colour, kind), (x, y, r) in zip(pairs, places, strict=True)
    )
    if (things[0][0], things[0][1]) in HELD_OUT and not held_out:  # a natural colour may hit one: draw again
        return sample_scene(rng, task, relation=relation, held_out=held_out, explicit=explicit)
    scene = Scene(items, background, task, "", relation)
    return replace(scene, caption=_caption(rng, scene, explicit, natural))


def _caption(rng: np.random.Generator, scene: Scene, explicit: bool, natural: bool) -> str:
    names = [f"{item.colour} {item.kind}" for item in scene.items]
    if scene.task == "count":
        phrase = f"{COUNTS[scene.count]} {scene.items[0].colour} {plural(scene.items[0].kind)}"
    elif scene.task == "object":
        phrase = scene.items[0].kind if natural else names[0]
        if scene.items[0].r < 0.25:
            phrase = "small " + phrase
        elif scene.items[0].r > 0.35:
            phrase = "big " + phrase
        phrase = _article(phrase)
    else:
        phrase = f"{_article(names[0])} {scene.relation or 'and'} {_article(names[1])}"
    if explicit:
        return f"{phrase} on {_article(scene.background)} background"
    prefix = _PREFIXES[rng.choice(3, p=[weight for _, weight in _PREFIXES])][0]
    suffix = f" on {_article(scene.background)} background" if rng.random() < 0.75 else ""
    return prefix + phrase + suffix


def training_scene(seed: int, index: int) -> Scene:
    """Scene number `index` of the endless training set of `seed`; never a held-out combination."""
    return sample_scene(np.random.default_rng([seed, index]))
