"""What a lens run says while it works; the record, the widgets and the command line all listen to this one stream."""

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
    """The prompt went through the text encoder: the first event of a run.

    Attributes
    ----------
    states : float16 array (layer, position, width)
        The lensed text encoder's hidden states, before its final norm.
    settings : mapping
        What the run is made with, as it was when it began.
    """

    states: np.ndarray
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Preview:
    """An unfinished picture: the model's prediction of layer `layer` after `step` of `steps` denoising steps."""

    layer: int
    step: int
    steps: int
    image: Image.Image


@dataclass(frozen=True)
class Snapshot:
    """What the model predicted of layer `layer` at denoising step `step` (0 is the first); it is kept."""

    layer: int
    step: int
    image: Image.Image


@dataclass(frozen=True, eq=False)
class LayerImage:
    """The finished picture of one layer.

    `latents` are its final latents, float32 (channel, height, width); `attention` where its words are looked at, where
    that was asked for.
    """

    layer: int
    image: Image.Image
    latents: np.ndarray | None = None
    attention: AttentionMaps | None = None


@dataclass(frozen=True)
class TokenImage:
    """The finished picture of one layer with only `token` kept."""

    layer: int
    token: TokenKey
    image: Image.Image


@dataclass(frozen=True)
class Progress:
    """Where the run stands.

    `running` are the layers in the batch that is denoised now, at `step` of `steps`; `seconds_left` is None until it
    can be told. Pictures of single tokens, where asked for, are counted by themselves; `running_tokens` are those in
    the batch, as (layer, token).
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
        """True when nothing is left to paint."""
        return self.layers_done == self.layers_total and self.tokens_done == self.tokens_total


@dataclass(frozen=True)
class Message:
    """Something the user should know and need not act on, such as a smaller batch after running out of memory.

    `settings` are those of the run that it changes.
    """

    message: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """One layer has no picture (its latents were not finite, say); the others go on."""

    layer: int
    message: str


@dataclass(frozen=True)
class TokenFailed:
    """One layer has no picture with only `token` kept; the others go on."""

    layer: int
    token: TokenKey
    message: str


@dataclass(frozen=True)
class Done:
    """The last event of every run; `message` tells why one failed."""

    status: Status
    message: str = ""


Event = Encoded | Preview | Snapshot | LayerImage | TokenImage | Progress | Message | Failed | TokenFailed | Done
Listener = Callable[[Event], None]
