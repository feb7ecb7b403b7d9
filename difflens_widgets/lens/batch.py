"""What is denoised: one row for each picture, and what conditions it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import Conditioning, Encoding
from ..runs.tokens import PromptPart, TokenKey

StepListener = Callable[[int, int, Tensor, Tensor], object]  # (layer, step, timestep, latents)


class Row(NamedTuple):
    """One picture to paint: a layer, of the whole prompt (None) or with only one token kept."""

    layer: int
    token: TokenKey | None = None

    def described(self, layer_name: str) -> str:
        """What a message calls it, given what its run calls the layer."""
        if self.token is None:
            return layer_name
        return f"{layer_name} with {self.token if isinstance(self.token, PromptPart) else f'token {self.token}'} kept"


@dataclass(frozen=True)
class Conditioned:
    """A prompt, encoded, and what its pictures are conditioned on besides: the negative prompt, and clean padding.

    `negative` is None without guidance, `clean` (the empty prompt) where no token is looked at by itself; `words` are
    the places of the prompt's words.
    """

    conditioning: Conditioning
    encoding: Encoding
    negative: Encoding | None
    clean: Encoding | None = None
    words: tuple[int, ...] = ()

    def call_kwargs(self, rows: Sequence[Row], kept: Mapping[TokenKey, Sequence[int]]) -> dict[str, Tensor]:
        """The stock pipeline's conditioning arguments for a batch of rows."""
        parts = []
        for layer, token in rows:
            encoding = self.encoding
            if token is not None and self.clean is not None:
                encoding = self.conditioning.keep(encoding, kept[token], self.clean, self.words)
            parts.append(self.conditioning.call_kwargs(encoding, [layer], self.negative))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
