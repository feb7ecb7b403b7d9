"""What every model family answers to the lens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..runs.tokens import Token


@dataclass(frozen=True)
class Encoding:
    """One prompt, encoded once.

    Attributes
    ----------
    states : Tensor (layer, token, width)
        The hidden states as the lensed text encoder leaves them; layer 0 is the embeddings.
    prompt_embeds : Tensor (layer, token, conditioning width)
        The same as the denoiser is given them, in the pipeline's dtype: after the encoder's own final norm where the
        family has one, beside the other encoder's state where it has two.
    pooled : Tensor (1, width) or (layer, width), optional
        The family's vector of the whole prompt; one row: the same for all layers.
    """

    states: Tensor
    prompt_embeds: Tensor
    pooled: Tensor | None = None


class Conditioning(ABC):
    """How one family of text-to-image models is conditioned on a layer of its text encoder.

    Attributes
    ----------
    pipeline_classes : the diffusers pipelines of this family
    encoders : the pipeline's names for its text encoders; the first is the default
    encoder : the name of the one that is lensed
    has_pooled : whether the denoiser is also given a vector of the whole prompt
    question : what a run's layers tell, "lens" or "ablation"
    """

    pipeline_classes: ClassVar[tuple[str, ...]]
    encoders: ClassVar[tuple[str, ...]]
    has_pooled: ClassVar[bool] = False
    question: ClassVar[str] = "lens"

    def __init__(self, pipe: Any, encoder: str | None = None) -> None:
        self.pipe = pipe
        self.encoder = self.check_encoder(encoder)
        if getattr(pipe, self.encoder) is None:
            raise ValueError(f"text_encoder: this {type(pipe).__name__} was loaded without {self.encoder}")

    @classmethod
    def check_encoder(cls, name: str | None) -> str:
        """The name of a text encoder that this family has (None: the first), or an error that says which there are."""
        if name is None:
            return cls.encoders[0]
        if name not in cls.encoders:
            has = ", ".join(map(repr, cls.encoders))
            raise ValueError(f"text_encoder: {cls.pipeline_classes[0]} has {has}; got {name!r}")
        return name

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """How many layers there are to look at: the embeddings and each block up to the stock picture's."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[torch.nn.Module]:
        """The lensed encoder's transformer blocks that the stock picture depends on, in their order."""

    @abstractmethod
    def tokenize(self, prompt: str) -> tuple[tuple[Token, ...], str]:
        """The tokens that the text encoder reads, and the part of `prompt` that did not fit ("" if all did)."""

    @abstractmethod
    def encode(self, prompt: str, lora_scale: float | None = None) -> Encoding:
        """Encode one prompt, once, as the stock pipeline does; `lora_scale` weakens the text encoder's LoRA."""

    def encode_negative(self, prompt: str | None, lora_scale: float | None = None) -> Encoding:
        """Encode what to guide away from; None: what the stock pipeline takes when it is given nothing."""
        return self.encode(prompt or "", lora_scale)

    @abstractmethod
    def call_kwargs(self, encoding: Encoding, layers: Sequence[int], negative: Encoding | None) -> dict[str, Tensor]:
        """The stock pipeline's conditioning arguments for a batch of `layers`; `negative` None: no guidance."""

    def stock_call(self, **kwargs: Any) -> Any:
        """Call the stock pipeline, also where `pipe` is of a subclass with a call of its own."""
        stock = next(base for base in type(self.pipe).__mro__ if base.__name__ in self.pipeline_classes)
        return stock.__call__(self.pipe, **kwargs)

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels -1..1, (row, channel, height, width), of `latents`, decoded as the stock pipeline does at its end."""

    def keep(self, encoding: Encoding, places: Iterable[int], clean: Encoding, words: Iterable[int]) -> Encoding:
        """`encoding` with the states of the start token and of `places` only; all others are `clean`'s there.

        `clean` is the empty prompt, of the same length. Toker et al., "Padding Tone", NAACL 2025. Where the denoiser
        reads two encoders, the places of both are meant. A pooled vector would tell the words that are left out: it is
        the prompt's only where all of `words`, the places of the prompt's words, are kept, and else `clean`'s.
        """
        places = set(places)
        kept = torch.zeros(encoding.prompt_embeds.shape[1], dtype=torch.bool)
        kept[[0, *places]] = True
        mask = kept.to(encoding.prompt_embeds.device)[:, None]
        return replace(
            encoding,
            states=torch.where(mask, encoding.states, clean.states),
            prompt_embeds=torch.where(mask, encoding.prompt_embeds, clean.prompt_embeds),
            pooled=encoding.pooled if places.issuperset(words) else clean.pooled,
        )
