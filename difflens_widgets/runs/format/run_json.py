"""run.json: the description of a run in a .lens file, written and read field by field.

The writer applies the reader's rules, so it writes nothing that would be refused later. Fields and entries that a later
minor version adds are ignored; a later major version is refused.
"""

from __future__ import annotations

import json
import math
import operator
from dataclasses import asdict, dataclass
from typing import Any, get_args

from ..events import Status
from ..record import RunRecord
from ..tokens import TokenKey
from ..variant import Variant
from .attention_json import ATTENTION, AttentionRecord, read_attention, to_plain
from .json_fields import Fields, check_plain, parse
from .json_items import (
    ENTRY,
    MAX_TOKENS,
    Shape,
    Size,
    array_shape,
    check_array_bytes,
    flag,
    flagged_of,
    keyed,
    of_masks,
    of_variants,
    picture_size,
    read_masks,
    read_token,
    read_variants,
    token_name,
)
from .legacy import upgrade

FORMAT = "difflens-lens"
VERSION = (2, 1)  # 2.1: variants, spans of tokens, kind "template", flagged images; 2.0: diffusers' names; see `legacy`
STATES = "states.safetensors"
LATENTS = "latents.safetensors"
_LAST_OF_1 = 2  # the last minor version of format 1
MAX_LAYERS = 4_096
MAX_TOTAL_PIXELS = 2**30


@dataclass(frozen=True)
class Record:
    """A run without its images and arrays, and the expected sizes and shapes of these.

    Attributes
    ----------
    fields : dict
        Arguments of RunRecord, except images and arrays.
    images, snapshots, token_images : dict
        (width, height) of each image.
    states : shape of the hidden states, or None if the file has none
    latents : dict of layer → shape
    attention : description of the attention maps, or None if the run has none
    newer : bool
        Written by a later minor version: the file may have unknown entries.
    """

    fields: dict[str, Any]
    images: dict[int, Size]
    snapshots: dict[tuple[int, int], Size]
    token_images: dict[tuple[int, TokenKey], Size]
    states: Shape | None
    latents: dict[int, Shape]
    attention: AttentionRecord | None
    newer: bool

    @property
    def entries(self) -> set[str]:
        """The names of all entries that belong to the run."""
        names = {ENTRY, *map(image_entry, self.images), *(snapshot_entry(*key) for key in self.snapshots)}
        names.update(token_entry(*key) for key in self.token_images)
        has_maps = self.attention is not None and self.attention.layers
        arrays = {STATES: self.states, LATENTS: self.latents, ATTENTION: has_maps}
        return names | {name for name, held in arrays.items() if held}


def image_entry(layer: int) -> str:
    """The entry of a layer's image."""
    return f"images/{layer}.webp"


def snapshot_entry(layer: int, step: int) -> str:
    """The entry of a layer's snapshot at a denoising step."""
    return f"snapshots/{layer}-{step}.webp"


def token_entry(layer: int, token: TokenKey) -> str:
    """The entry of a layer's image with only one token kept, or of a variant."""
    folder = "variants" if isinstance(token, Variant) else "tokens"
    return f"{folder}/{layer}-{token_name(token)}.webp"


def _variant_entry(layer: int, number: int) -> str:
    return token_entry(layer, Variant("", number))


def to_json(run: RunRecord) -> bytes:
    """Describe a run.

    Raises
    ------
    ValueError
        If the run holds what a file cannot hold; names the field.
    """
    check_plain(run.settings, "settings")
    record = {
        "format": FORMAT,
        "version": list(VERSION),
        "prompt": run.prompt,
        "tokens": [asdict(token) for token in run.tokens],
        "layers": [operator.index(layer) for layer in run.layers],
        "num_layers": operator.index(run.num_layers),
        "seed": operator.index(run.seed),
        "settings": run.settings,
        "status": run.status,
        "message": run.message,
        "failures": [{"layer": operator.index(k), "message": v} for k, v in dict(run.failures).items()],
        "images": [
            {
                "layer": operator.index(layer),
                "entry": image_entry(layer),
                "width": image.width,
                "height": image.height,
                **flag(layer in run.flagged),
            }
            for layer, image in run.images.items()
        ],
        "snapshots": [
            {
                "layer": operator.index(layer),
                "step": operator.index(step),
                "entry": snapshot_entry(layer, step),
                "width": image.width,
                "height": image.height,
                **flag((layer, step) in run.flagged_snapshots),
            }
            for (layer, step), image in run.snapshots.items()
        ],
        **_rows(run, "token", "token_masks"),
        **_rows(run, "variant", "variants"),
        "states": None if run.states is None else {"entry": STATES, "shape": list(run.states.shape)},
        "latents": [
            {"layer": operator.index(layer), "entry": LATENTS, "shape": list(array.shape)}
            for layer, array in run.latents.items()
        ],
        "attention": None if run.attention is None else to_plain(run.attention, run.tokens),
    }
    return json.dumps(record, indent=1, allow_nan=False).encode("ascii")


def _rows(run: RunRecord, kind: str, masks: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of kept tokens (`kind` is "token"), or of variants, which readers of version 2.0 ignore."""

    def here(key: TokenKey) -> bool:
        return isinstance(key, Variant) == (kind == "variant")

    return {
        masks: [
            {**({"label": str(key)} if kind == "variant" else {kind: token_name(key)}), "positions": list(mask)}
            for key, mask in run.token_masks.items()
            if here(key)
        ],
        f"{kind}_images": [
            {
                "layer": operator.index(layer),
                kind: token_name(key),
                "entry": token_entry(layer, key),
                "width": image.width,
                "height": image.height,
                **flag((layer, key) in run.flagged_tokens),
            }
            for (layer, key), image in run.token_images.items()
            if here(key)
        ],
        f"{kind}_failures": [
            {"layer": operator.index(layer), kind: token_name(key), "message": message}
            for (layer, key), message in run.token_failures.items()
            if here(key)
        ],
    }


def from_json(data: bytes) -> Record:
    """Read what `to_json` wrote, and check every field.

    Raises
    ------
    ValueError
        If a field is missing, has the wrong type or is out of its range; names the field.
    """
    root = parse(data, ENTRY)
    major, minor = _check_version(root)
    if major == 1:
        root = Fields(upgrade(root.values, minor), ENTRY)
    num_layers = root.integer("num_layers", 1, MAX_LAYERS)
    layers = tuple(root.integers("layers", 0, num_layers - 1, at_most=num_layers))
    if len(set(layers)) < len(layers):
        raise ValueError(f"run.json: 'layers' names a layer twice: {layers}")
    settings = root.mapping("settings")
    check_plain(settings, "settings")

    images = keyed(root, "images", ("layer",), image_entry, layers)
    snapshots = keyed(root, "snapshots", ("layer", "step"), snapshot_entry, layers)
    tokens = tuple(map(read_token, root.items("tokens", MAX_TOKENS)))
    masks = read_masks(root, len(tokens))
    token_images = of_masks(root, "token_images", token_entry, layers, masks)
    token_failures = of_masks(root, "token_failures", None, layers, masks)
    if (major, minor) >= (2, 1):
        variants = read_variants(root, len(tokens))
        token_images |= of_variants(root, "variant_images", _variant_entry, layers, variants)
        token_failures |= of_variants(root, "variant_failures", None, layers, variants)
        masks = {**masks, **variants}
    sizes = [picture_size(item) for item in (*images.values(), *snapshots.values(), *token_images.values())]
    pixels = sum(width * height for width, height in sizes)
    if pixels > MAX_TOTAL_PIXELS:
        raise ValueError(f"run.json: the pictures have {pixels:,} pixels, at most {MAX_TOTAL_PIXELS:,} are allowed")

    states = None
    if root.get("states") is not None:
        states = array_shape(root.child("states"), STATES, dimensions=3)
        if states[0] != num_layers:
            raise ValueError(f"run.json: 'states' has {states[0]} layers, the run has {num_layers}")
        check_array_bytes("states", 2 * math.prod(states))
    latents = keyed(root, "latents", ("layer",), lambda layer: LATENTS, layers)
    shapes = {key[0]: array_shape(item, LATENTS, dimensions=3) for key, item in latents.items()}
    check_array_bytes("latents", sum(4 * math.prod(shape) for shape in shapes.values()))

    attention = None
    if root.get("attention") is not None:
        attention = read_attention(root.child("attention"), tokens, layers)

    failures = keyed(root, "failures", ("layer",), None, layers)
    return Record(
        fields={
            "prompt": root.text("prompt"),
            "tokens": tokens,
            "layers": layers,
            "num_layers": num_layers,
            "seed": root.integer("seed", -(2**63), 2**64 - 1),
            "settings": dict(settings),
            "failures": {k[0]: v.text("message") for k, v in failures.items()},
            "token_masks": masks,
            "token_failures": {(k[0], k[1]): v.text("message") for k, v in token_failures.items()},
            "flagged": {key[0] for key in flagged_of(images)},
            "flagged_snapshots": flagged_of(snapshots),
            "flagged_tokens": flagged_of(token_images),
            "status": root.choice("status", get_args(Status)),
            "message": root.text("message"),
        },
        images={key[0]: picture_size(item) for key, item in images.items()},
        snapshots={(key[0], key[1]): picture_size(item) for key, item in snapshots.items()},
        token_images={(key[0], key[1]): picture_size(item) for key, item in token_images.items()},
        states=states,
        latents=shapes,
        attention=attention,
        newer=minor > (VERSION[1] if major == VERSION[0] else _LAST_OF_1),
    )


def _check_version(root: Fields) -> tuple[int, int]:
    """Return the version; refuse other formats and later major versions."""
    if root.get("format") != FORMAT:
        raise ValueError(f"{ENTRY} does not describe a lens run: its 'format' is not {FORMAT!r}")
    version = root.integers("version", 0, 1_000_000, at_most=2)
    if len(version) != 2:
        raise ValueError(f"{ENTRY}: 'version' is {version}, expected a major and a minor number")
    major, minor = version
    if major > VERSION[0]:
        raise ValueError(
            f"the file has format version {major}.{minor}, this difflens_widgets reads version {VERSION[0]}: "
            "a newer difflens_widgets is needed (pip install -U difflens-widgets)"
        )
    if major < 1:
        raise ValueError(f"the file has format version {major}.{minor}, which never existed")
    return major, minor
