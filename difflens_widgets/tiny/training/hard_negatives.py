"""Captions that are nearly true of a picture, and not quite: what the text encoder must learn to tell apart."""

from __future__ import annotations

import itertools

import numpy as np

from ..scenes import (
    ANIMALS,
    COLORS,
    COUNTS,
    HELD_OUT,
    HOLDERS,
    KINDS,
    LOST_IN,
    MATERIALS,
    NAMED_MATERIALS,
    OBJECTS,
    PLACES,
    SHAPES,
    WALKERS,
    plural,
)

_OPPOSITE = {"above": "below", "below": "above", "left": "right", "right": "left"}
_ALIKE = (  # what an encoder kept closest together after 400 steps, circle and square above all
    ("circle", "square", "cross"),
    ("dog", "cat", "bear"),
    ("star", "heart", "diamond"),
    ("tree", "flower", "mushroom"),
    ("fish", "turtle", "snail"),
)
_FAMILIES, _NUMBERS, _TRIES = (SHAPES, ANIMALS, OBJECTS), list(COUNTS.values()), 20
_KIND_OF = {name: kind for kind in KINDS for name in (plural(kind), kind)}


def other_kind(caption: str, rng: np.random.Generator) -> str:
    """The caption of a picture with another kind of thing in one place, mostly one that looks alike.

    Colors alone tell the captions of a batch apart. Without these negatives the encoder kept "circle" and "square"
    40 times closer together than two colors, and the U-Net painted something in between.
    """
    for _ in range(10 * _TRIES):  # few kinds walk: after 20 tries, 2 of 2,000 could not be drawn
        words = caption.split()
        i = rng.choice([i for i, word in enumerate(words) if word in _KIND_OF])
        kind = _KIND_OF[words[i]]
        alike = next((group for group in _ALIKE if kind in group), KINDS)
        family = alike if rng.random() < 0.5 else next(family for family in _FAMILIES if kind in family)
        other = rng.choice([name for name in family if name != kind])
        words[i] = _form(other, words)
        if could_be_drawn(words):
            break
    return _with_articles(words)


def other_binding(caption: str, rng: np.random.Generator) -> str:
    """The caption of a picture with the same kinds, otherwise colored, placed, counted, made or standing."""
    for _ in range(_TRIES):
        words = _otherwise(caption.split(), rng)
        if could_be_drawn(words) and words != caption.split():
            return _with_articles(words)
    return other_kind(caption, rng)


def _otherwise(words: list[str], rng: np.random.Generator) -> list[str]:
    colors = [i for i, word in enumerate(words) if word in COLORS]
    relations = [i for i, word in enumerate(words) if word in _OPPOSITE]
    numbers = [i for i, word in enumerate(words) if word in _NUMBERS]
    kinds = [i for i, word in enumerate(words) if word in _KIND_OF]
    if numbers and rng.random() < 0.4:
        words[numbers[0]] = rng.choice([number for number in _NUMBERS if number != words[numbers[0]]])
        words[kinds[0]] = _form(_KIND_OF[words[kinds[0]]], words)
    elif relations and rng.random() < 0.35:
        words[relations[0]] = _OPPOSITE[words[relations[0]]]
    elif rng.random() < 0.3 and _other_manner(words, rng):
        pass
    elif words[-1] in PLACES and rng.random() < 0.4:
        place = rng.choice([place for place in PLACES if place != words[-1]])
        words[-2:] = PLACES[place].split()
    elif len(colors) >= 2 and rng.random() < 0.6:
        i, j = rng.choice(colors, 2, replace=False)
        words[i], words[j] = words[j], words[i]
    elif colors:
        i = rng.choice(colors)
        words[i] = rng.choice([color for color in COLORS if color != words[i]])
    return words


def _other_manner(words: list[str], rng: np.random.Generator) -> bool:
    """Another material or none, or sitting in place of walking; False where the caption cannot tell of either.

    Without negatives that leave a material out or put one in, "metallic" came to mean "neither striped nor dotted":
    its states were as near to those of the plain thing as a meaningless word's.
    """
    for i, word in enumerate(words):
        if word == "walking":
            del words[i]
            return True
        if word in MATERIALS:
            other = rng.choice([material for material in MATERIALS if material != word])
            words[i : i + 1] = [] if other == "plain" else [other]
            return True
    nouns = [i for i, word in enumerate(words) if word in _KIND_OF]
    if len(nouns) > 1 or set(words) & {*_NUMBERS} or words[nouns[0]] in ANIMALS:
        return False
    start = nouns[0] - (words[nouns[0] - 1] in COLORS)
    words.insert(start, str(rng.choice(NAMED_MATERIALS)))
    return True


def could_be_drawn(words: list[str]) -> bool:
    """Whether `scenes.sample_scene` could draw this for training: a negative that cannot be is no lesson."""
    kinds = [_KIND_OF[word] for word in words if word in _KIND_OF]
    pairs = [(before, _KIND_OF[word]) for before, word in itertools.pairwise(words) if word in _KIND_OF]
    colors = [color for color, _ in pairs if color in COLORS]
    lost = {words[-2]} if words[-1] == "background" else set(LOST_IN.get(words[-1], ()))
    made = any(word in MATERIALS for word in words)
    return (
        not HELD_OUT & set(pairs)
        and len(set(kinds)) == len(kinds)
        and len(set(colors)) == len(colors)
        and not lost & set(colors)
        and not ("inside" in words and kinds[-1] not in HOLDERS)
        and not (made and kinds[0] in ANIMALS)
        and not ("walking" in words and kinds[0] not in WALKERS)
    )


def _form(kind: str, words: list[str]) -> str:
    """Its plural where the caption counts several."""
    return plural(kind) if set(words) & {*_NUMBERS[1:]} else kind


def _with_articles(words: list[str]) -> str:
    """A wrong "an" would give a negative away without a look at the picture."""
    pairs = zip(words, [*words[1:], " "], strict=True)
    return " ".join(("an" if after[0] in "aeiou" else "a") if word in ("a", "an") else word for word, after in pairs)
