"""The items of the lists in run.json (images, arrays and tokens), checked as they are read."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

from ..tokens import Kind, PromptPart, Token, TokenKey
from ..variant import Variant
from . import webp
from .json_fields import Fields

ENTRY = "run.json"
MAX_TOKENS = 65_536
MAX_CHARACTERS = 2**30  # of a prompt
MAX_STEP = 1_000_000
MAX_ENTRIES = 65_000
MAX_ARRAY_BYTES = 2**30

Size = tuple[int, int]
Shape = tuple[int, ...]


def keyed(
    root: Fields, name: str, key: tuple[str, ...], entry: Callable[..., str] | None, layers: tuple[int, ...]
) -> dict[tuple[Any, ...], Fields]:
    """A list of objects as a dict by layer (and step or token), refusing duplicates and unknown layers."""
    found: dict[tuple[Any, ...], Fields] = {}
    asked = set(layers)
    for item in root.items(name, MAX_ENTRIES):
        at = tuple(_token_key(item) if part == "token" else item.integer(part, 0, MAX_STEP) for part in key)
        if at[0] not in asked:
            raise ValueError(f"{ENTRY}: {name!r} has layer {at[0]}, which is none of the run's layers {_few(layers)}")
        if at in found:
            raise ValueError(
                f"{ENTRY}: {name!r} has {' '.join(f'{p} {n}' for p, n in zip(key, at, strict=True))} twice"
            )
        if entry is not None and item.text("entry") != entry(*at):
            raise ValueError(
                f"{ENTRY}: {name!r} places layer {at[0]} in {item.text('entry')[:80]!r}, not {entry(*at)!r}"
            )
        found[at] = item
    return found


def picture_size(item: Fields) -> Size:
    """The (width, height) of one image, within the limits of the decoder."""
    size = (item.integer("width", 1, webp.MAX_SIDE), item.integer("height", 1, webp.MAX_SIDE))
    if size[0] * size[1] > webp.MAX_PIXELS:
        raise ValueError(f"{ENTRY}: a picture of {size[0]} × {size[1]} pixels is larger than is allowed")
    return size


def flag(flagged: bool) -> dict[str, bool]:
    """What an image's item also has if the safety checker blacked the image out."""
    return {"flagged": True} if flagged else {}


def flagged_of(items: Mapping[tuple[Any, ...], Fields]) -> set[Any]:
    """The keys of the images that the safety checker blacked out; files before version 2.1 do not say it."""
    return {key for key, item in items.items() if "flagged" in item.names and item.flag("flagged")}


def array_shape(item: Fields, entry: str, dimensions: int) -> Shape:
    """The shape of one array, after a check of its entry."""
    if item.text("entry") != entry:
        raise ValueError(f"{ENTRY}: an array is placed in {item.text('entry')[:80]!r}, not in {entry!r}")
    shape = tuple(item.integers("shape", 1, MAX_ARRAY_BYTES, at_most=dimensions))
    if len(shape) != dimensions:
        raise ValueError(f"{ENTRY}: an array in {entry!r} has the shape {shape}, expected {dimensions} dimensions")
    return shape


def check_array_bytes(name: str, count: int) -> None:
    """Raise a ValueError for more bytes than an array may have."""
    if count > MAX_ARRAY_BYTES:
        raise ValueError(f"{ENTRY}: {name!r} takes {count:,} bytes, at most {MAX_ARRAY_BYTES:,} are allowed")


def read_token(item: Fields) -> Token:
    """One token of the prompt."""
    kind = cast(Kind, item.choice("kind", get_args(Kind)))
    span = None
    if item.get("span") is not None:  # files before 2.1 have none
        bounds = item.integers("span", 0, MAX_CHARACTERS, at_most=2)
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ValueError(f"{ENTRY}: the 'span' of a token is {bounds}, not a start and an end")
        span = (bounds[0], bounds[1])
    return Token(item.integer("index", 0, MAX_TOKENS), item.text("text"), kind, item.flag("is_continuation"), span)


def token_name(token: TokenKey) -> int | str:
    """The name of a kept token in the file: its position, or the name of the prompt part; a variant's number."""
    if isinstance(token, Variant):
        return operator.index(token.number)
    return token.value if isinstance(token, PromptPart) else operator.index(token)


def _token_key(item: Fields) -> TokenKey:
    if isinstance(item.get("token"), str):
        return PromptPart(item.choice("token", [part.value for part in PromptPart]))
    return item.integer("token", 0, MAX_TOKENS)


def read_masks(root: Fields, length: int) -> dict[TokenKey, tuple[int, ...]]:
    """The positions that the image of each token keeps."""
    found: dict[TokenKey, tuple[int, ...]] = {}
    for item in root.items("token_masks", MAX_TOKENS):
        token = _token_key(item)
        if token in found:
            raise ValueError(f"{ENTRY}: 'token_masks' has token {token_name(token)} twice")
        found[token] = tuple(item.integers("positions", 0, length - 1, at_most=length))
    return found


def read_variants(root: Fields, length: int) -> dict[TokenKey, tuple[int, ...]]:
    """The variants, numbered in their order, and the positions that each changes."""
    found: dict[TokenKey, tuple[int, ...]] = {}
    for number, item in enumerate(root.items("variants", MAX_TOKENS)):
        variant = Variant(item.text("label"), number)
        if variant in found:
            raise ValueError(f"{ENTRY}: 'variants' has {variant[:80]!r} twice")
        found[variant] = tuple(item.integers("positions", 0, length - 1, at_most=length))
    return found


def of_variants(
    root: Fields,
    name: str,
    entry: Callable[..., str] | None,
    layers: tuple[int, ...],
    variants: Mapping[TokenKey, Any],
) -> dict[tuple[Any, ...], Fields]:
    """A list of objects as a dict by layer and variant."""
    found = keyed(root, name, ("layer", "variant"), entry, layers)
    named = list(variants)
    for _, number in found:
        if number >= len(named):
            raise ValueError(f"{ENTRY}: {name!r} has variant {number}, the run has {len(named)}")
    return {(layer, named[number]): item for (layer, number), item in found.items()}


def of_masks(
    root: Fields, name: str, entry: Callable[..., str] | None, layers: tuple[int, ...], masks: Mapping[TokenKey, Any]
) -> dict[tuple[Any, ...], Fields]:
    """A list of objects as a dict by layer and token; each token must be one of `masks`."""
    found = keyed(root, name, ("layer", "token"), entry, layers)
    for _, token in found:
        if token not in masks:
            raise ValueError(f"{ENTRY}: {name!r} has token {token_name(token)}, which 'token_masks' does not have")
    return found


def _few(layers: tuple[int, ...]) -> str:
    return str(list(layers)) if len(layers) <= 30 else f"{len(layers)} layers"
