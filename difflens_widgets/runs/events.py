"""What a lens run says while it works; the record, the widgets and the command line all listen to this one stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from .tokens import TokenKey

Status = Literal["empty", "running", "done", "stopped", "failed"]


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


@dataclass(frozen=True)
class LayerImage:
    """The finished picture of one layer."""

    layer: int
    image: Image.Image


@dataclass(frozen=True)
class TokenImage:
    """The finished picture of one layer with only `token` kept."""

    layer: int
    token: TokenKey
    image: Image.Image


@dataclass(frozen=True)
class Progress:
    """Where the run stands.

    `running` are the layers in the chunk that is denoised now, at `step` of `steps`; `seconds_left` is None until it
    can be told. Pictures of single tokens, where asked for, are counted by themselves; `running_tokens` are those in
    the chunk, as (layer, token).
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
    """Something the user should know and need not act on, such as a smaller chunk after running out of memory."""

    message: str


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


Event = Preview | Snapshot | LayerImage | TokenImage | Progress | Message | Failed | TokenFailed | Done
Listener = Callable[[Event], None]
