"""What a model family declares, so that the lens can read its text encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a pipeline.

    Attributes
    ----------
    name : str
        Its component name in the pipeline, such as "text_encoder_2".
    tokenizer : str
        The component name of its tokenizer.
    blocks, norm : str
        The path of the transformer blocks and of the final norm inside the encoder, such as "encoder.layers".
    reads : tuple of int
        Indices of `hidden_states` that the pipeline reads: (-2,) is the state before the last block. Empty: it reads
        the encoder's first output, the last state.
    normed : bool
        Whether the final norm was applied to the state that is read. If so, the lens applies it once to every layer.
    pooled : bool
        Whether the pipeline also reads a pooled vector of the whole prompt, which depends on all blocks.
    """

    name: str
    tokenizer: str
    blocks: str
    norm: str
    reads: tuple[int, ...] = ()
    normed: bool = False
    pooled: bool = False

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """The transformer blocks of a loaded encoder, in order."""
        return list(_inside(encoder, self.blocks))

    def norm_of(self, encoder: nn.Module) -> nn.Module:
        """The final norm of a loaded encoder."""
        return _inside(encoder, self.norm)

    def read_layers(self, num_blocks: int) -> tuple[int, ...]:
        """The layers that the pipeline reads, with `num_blocks` blocks; the last one gives the stock image."""
        return tuple(index % (num_blocks + 1) for index in self.reads) or (num_blocks,)


@dataclass(frozen=True)
class Family:
    """A family of text-to-image pipelines: which states of its text encoders are read, and how latents become pixels.

    Attributes
    ----------
    pipeline_classes : tuple of str
        Names of the diffusers classes; a subclass belongs to the family of its parent class.
    encoders : tuple of TextEncoder
        The first one is examined by default.
    decode : callable
        (pipeline, latents (row, channel, height, width)) → pixels -1..1 (row, channel, height, width), as at the
        end of the stock pipeline.
    denoiser : str
        The component name of the denoiser, "unet" or "transformer".
    requires : tuple of str
        Components that the pipeline needs for its conditioning.
    """

    pipeline_classes: tuple[str, ...]
    encoders: tuple[TextEncoder, ...]
    decode: Callable[[Any, Tensor], Tensor]
    denoiser: str = "unet"
    requires: tuple[str, ...] = ()

    @property
    def has_pooled(self) -> bool:
        """Whether the denoiser also takes a pooled vector of the whole prompt."""
        return any(encoder.pooled for encoder in self.encoders)

    def encoder(self, name: str | None) -> TextEncoder:
        """The declaration of one text encoder; None means the first.

        Raises
        ------
        ValueError
            If the family has no text encoder of that name; the message lists the names.
        """
        if name is None:
            return self.encoders[0]
        for encoder in self.encoders:
            if encoder.name == name:
                return encoder
        there = ", ".join(repr(encoder.name) for encoder in self.encoders)
        raise ValueError(f"text_encoder: {self.pipeline_classes[0]} has {there}; got {name!r}")

    def stock_class(self, pipe: Any) -> type[Any]:
        """The diffusers class of a pipeline, even if its own class is a subclass that overrides `__call__`."""
        return next(base for base in type(pipe).__mro__ if base.__name__ in self.pipeline_classes)


def _inside(encoder: nn.Module, path: str) -> Any:
    """A part of an encoder; before transformers 5.6, CLIP's parts are inside `text_model`."""
    return reduce(getattr, path.split("."), getattr(encoder, "text_model", encoder))
