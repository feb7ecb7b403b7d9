"""The events of a lens run; the record, the widgets and the command line all listen to this one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from .maps.maps import AttentionMaps
from .tokens import TokenKey

Status = Literal["empty", "running", "done", "stopped", "failed"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The text encoder has encoded the prompt: the first event of a run.

    Attributes
    ----------
    states : float16 array (layer, position, width), or None
        The hidden states of the examined text encoder, before its final norm; None if no layer is examined.
    settings : mapping
        The settings of the run at its start.
    """

    states: np.ndarray | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class NoiseDrawn:
    """Denoising has begun; `settings` are those of the run that identify its noise, such as "latents_hash"."""

    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """An unfinished image: the model's prediction for `layer` after `step` of `steps` denoising steps."""

    layer: int
    step: int
    steps: int
    image: Image.Image


@dataclass(frozen=True)
class Snapshot:
    """The model's prediction for `layer` at denoising step `step` (0 is the first), kept in the record.

    `flagged`: the pipeline's safety checker blacked it out, or the finished image of its layer.
    """

    layer: int
    step: int
    image: Image.Image
    flagged: bool = False


@dataclass(frozen=True, eq=False)
class LayerImage:
    """The finished image of one layer.

    `latents` are its final latents, float32 (channel, height, width); `attention` holds its attention maps, if they
    were requested; `flagged`: the pipeline's safety checker blacked it out; `cached`: it was generated before, and is
    the same to the byte.
    """

    layer: int
    image: Image.Image
    latents: np.ndarray | None = None
    attention: AttentionMaps | None = None
    flagged: bool = False
    cached: bool = False


@dataclass(frozen=True)
class TokenImage:
    """The finished image of one layer with only `token` kept; `flagged` and `cached` as in `LayerImage`."""

    layer: int
    token: TokenKey
    image: Image.Image
    flagged: bool = False
    cached: bool = False


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    `running` are the layers in the current batch, at `step` of `steps`; `seconds_left` is None until it can be
    estimated. Images of single tokens are counted separately; `running_tokens` are those in the current batch, as
    (layer, token).
    """

    layers_done: int
    layers_total: int
    running: tuple[int, ...]
    step: int
    steps: int
    seconds_left: float | None
    tokens_done: int = 0
    tokens_total: int = 0
    running_tokens: tuple[tuple[int, TokenKey], ...] = ()

    @property
    def complete(self) -> bool:
        """True when all images are done."""
        return self.layers_done == self.layers_total and self.tokens_done == self.tokens_total


@dataclass(frozen=True)
class Message:
    """Information for the user that needs no action, such as a smaller batch after running out of memory.

    `settings` are the settings of the run that it changes.
    """

    message: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """One layer has no image, for example because its latents are not finite; the other layers go on."""

    layer: int
    message: str


@dataclass(frozen=True)
class TokenFailed:
    """One layer has no image with only `token` kept; the others go on."""

    layer: int
    token: TokenKey
    message: str


@dataclass(frozen=True)
class Done:
    """The last event of every run; `message` is the reason if it failed."""

    status: Status
    message: str = ""


Event = (
    Encoded
    | NoiseDrawn
    | Preview
    | Snapshot
    | LayerImage
    | TokenImage
    | Progress
    | Message
    | Failed
    | TokenFailed
    | Done
)
Listener = Callable[[Event], None]
