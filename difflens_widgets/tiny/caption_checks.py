"""What a caption of the embedded model's world claims, and whether a picture that was read bears it out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .judge import Reading
from .scenes import ANIMALS, COLORS, COUNTS, KINDS, NAMED_MATERIALS, PLACES, RELATIONS, WALKERS, Scene, plural

_COLOR = "|".join(COLORS)
_KIND = "|".join(KINDS)
_MADE = "|".join(kind for kind in KINDS if kind not in ANIMALS)
_MATERIAL = "|".join(NAMED_MATERIALS)
_KINDS_OF_PLURALS = {plural(kind): kind for kind in KINDS}
_NUMBERS = {word: number for number, word in COUNTS.items()}
_SEVERAL = "|".join(word for word, number in _NUMBERS.items() if number > 1)
_PLACES = {text: place for place, text in PLACES.items()}


def _thing(number: int) -> str:
    """The pattern of one thing; only what scenes have can walk, or be of a material."""
    return (
        r"(?:an? )?(?:(?:small|big) )?"
        rf"(?P<walking{number}>walking (?=(?:(?:{_COLOR}) )?(?:{'|'.join(WALKERS)})\b))?"
        rf"(?:(?P<material{number}>{_MATERIAL}) (?=(?:(?:{_COLOR}) )?(?:{_MADE})\b))?"
        rf"(?:(?P<color{number}>{_COLOR}) )?(?P<kind{number}>{_KIND})"
    )


_CAPTION = re.compile(
    r"(?:a (?:photo|picture) of )?"
    rf"(?:one (?:(?P<color_of_one>{_COLOR}) )?(?P<one>{_KIND})"
    rf"|(?P<number>{_SEVERAL}) (?:(?P<color_of_all>{_COLOR}) )?(?P<kinds>{'|'.join(_KINDS_OF_PLURALS)})"
    rf"|{_thing(1)}(?: (?P<relation>and|{'|'.join(RELATIONS)}) {_thing(2)})?)"
    rf"(?: on an? (?P<background>{_COLOR}) background| (?P<place>{'|'.join(_PLACES)}))?"
)


@dataclass(frozen=True)
class Claim:
    """What a caption says; None or nothing where it says nothing of that.

    `things` are the kinds, each with its color or None; `count` is how often each of them is there; `background` is
    one of `scenes.BACKGROUNDS`; `materials` are by kind. `walking` are the kinds that are said to walk: the judge does
    not read postures, so no question asks for it.
    """

    things: dict[str, str | None]
    count: int | None = None
    relation: str | None = None
    background: str | None = None
    materials: dict[str, str] = field(default_factory=dict)
    walking: tuple[str, ...] = ()

    @property
    def colors(self) -> dict[str, str]:
        """The colors that are claimed, by kind."""
        return {kind: color for kind, color in self.things.items() if color}


def read_caption(caption: str) -> Claim:
    """Read a caption such as `scenes.sample_scene` writes; articles, sizes, colors and the background may be missing.

    Raises
    ------
    ValueError
        If it is none, or has two things of one kind, which the judge does not tell apart.
    """
    match = _CAPTION.fullmatch(" ".join(caption.lower().split()))
    if not match:
        raise ValueError(
            f"prompt: {caption!r} is no caption of the embedded model's world, such as 'a red circle', "
            "'two blue dogs', 'a striped green boat at sea' or 'a red circle above a blue dog on a white background'"
        )
    said = match.groupdict()
    background = _PLACES.get(said["place"], said["background"])
    if said["one"]:
        return Claim({said["one"]: said["color_of_one"]}, 1, None, background)
    if said["number"]:
        kind = _KINDS_OF_PLURALS[said["kinds"]]
        return Claim({kind: said["color_of_all"]}, _NUMBERS[said["number"]], None, background)
    numbers = {number: said[f"kind{number}"] for number in (1, 2) if said[f"kind{number}"]}
    if len({*numbers.values()}) < len(numbers):
        raise ValueError(f"prompt: {caption!r} has two things of one kind, which the judge does not tell apart")
    return Claim(
        {kind: said[f"color{number}"] for number, kind in numbers.items()},
        relation=None if said["relation"] == "and" else said["relation"],
        background=background,
        materials={kind: said[f"material{number}"] for number, kind in numbers.items() if said[f"material{number}"]},
        walking=tuple(kind for number, kind in numbers.items() if said[f"walking{number}"]),
    )


def claim_of(scene: Scene) -> Claim:
    """All that is true of a scene, whatever its caption tells."""
    return Claim(
        {item.kind: item.color for item in scene.items},
        scene.count,
        scene.relation,
        scene.background,
        {item.kind: item.material for item in scene.items},
        tuple(dict.fromkeys(item.kind for item in scene.items if item.walking)),
    )


def kinds_right(claim: Claim, reading: Reading) -> bool:
    """All kinds are there; there may be others."""
    return claim.things.keys() <= reading.things.keys()


def colors_right(claim: Claim, reading: Reading) -> bool:
    """All kinds whose color is claimed are there, each in its color."""
    seen = {kind: thing.color for kind, thing in reading.things.items()}
    return claim.colors.items() <= seen.items()


def hues_right(claim: Claim, reading: Reading) -> bool:
    """All colors are there, on whatever kind of thing."""
    return {*claim.colors.values()} <= {thing.color for thing in reading.things.values()}


def objects_right(claim: Claim, reading: Reading) -> bool:
    """Exactly the kinds that are claimed are there, each in its color where that is claimed."""
    return claim.things.keys() == reading.things.keys() and colors_right(claim, reading)


def count_right(claim: Claim, reading: Reading) -> bool:
    """Each kind is there as often as claimed."""
    return all(kind in reading.things and reading.things[kind].count == claim.count for kind in claim.things)


def relation_right(claim: Claim, reading: Reading) -> bool:
    """Both kinds are there, and stand as claimed."""
    first, second = claim.things
    return reading.relation(first, second) == claim.relation


def material_right(claim: Claim, reading: Reading) -> bool:
    """All kinds whose material is claimed are there, made of it."""
    seen = {kind: thing.material for kind, thing in reading.things.items()}
    return claim.materials.items() <= seen.items()


def background_right(claim: Claim, reading: Reading) -> bool:
    """The background has its color, or is its place."""
    return reading.background == claim.background


def everything_right(claim: Claim, reading: Reading) -> bool:
    """All that the caption claims is there, and no other kind of thing."""
    asked = [check for name, check in QUESTIONS.items() if name != "everything" and is_claimed(name, claim)]
    return claim.things.keys() == reading.things.keys() and all(check(claim, reading) for check in asked)


CaptionCheck = Callable[[Claim, Reading], bool]
QUESTIONS: dict[str, CaptionCheck] = {
    "kinds": kinds_right,
    "colours": colors_right,
    "hues": hues_right,
    "count": count_right,
    "relation": relation_right,
    "material": material_right,
    "background": background_right,
    "everything": everything_right,
}


def is_claimed(question: str, claim: Claim) -> bool:
    """Whether the caption says anything that the question is about."""
    said: dict[str, object] = {
        "colours": claim.colors,
        "hues": claim.colors,
        "count": claim.count,
        "relation": claim.relation,
        "material": claim.materials,
        "background": claim.background,
    }
    return bool(said.get(question, True))
