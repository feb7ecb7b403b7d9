"""What a model family has to declare, so that the lens can read its text encoders."""

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
        The pipeline's attribute, such as "text_encoder_2".
    tokenizer : str
        The attribute of its tokenizer.
    blocks, norm : str
        Where the transformer blocks and the final norm are inside the encoder, such as "encoder.layers".
    reads : tuple of int
        Which of `hidden_states` the pipeline reads, as it indexes them: (-2,) is the one before the last. Empty: it
        reads the encoder's first output, the last state.
    normed : bool
        Whether what it reads has passed the final norm. Then every layer passes it once.
    pooled : bool
        Whether the pipeline also reads a vector of the whole prompt from this encoder, made by all of its blocks.
    """

    name: str
    tokenizer: str
    blocks: str
    norm: str
    reads: tuple[int, ...] = ()
    normed: bool = False
    pooled: bool = False

    def blocks_of(self, encoder: nn.Module) -> list[nn.Module]:
        """The transformer blocks of a loaded encoder, in their order."""
        return list(_inside(encoder, self.blocks))

    def norm_of(self, encoder: nn.Module) -> nn.Module:
        """The final norm of a loaded encoder."""
        return _inside(encoder, self.norm)

    def read_layers(self, num_blocks: int) -> tuple[int, ...]:
        """The layers that the pipeline reads, of an encoder with so many blocks; the last is the stock picture's."""
        return tuple(index % (num_blocks + 1) for index in self.reads) or (num_blocks,)


@dataclass(frozen=True)
class Family:
    """A family of text-to-image pipelines: where its text encoders are read, and how its latents become pixels.

    Attributes
    ----------
    pipeline_classes : tuple of str
        The diffusers classes; a subclass belongs to its parent's family.
    encoders : tuple of TextEncoder
        The first is looked at by default.
    decode : callable
        (pipeline, latents (row, channel, height, width)) → pixels -1..1 (row, channel, height, width), as the stock
        pipeline decodes them at its end.
    denoiser : str
        The attribute of the denoiser, "unet" or "transformer".
    requires : tuple of str
        Components without which the pipeline cannot be conditioned.
    """

    pipeline_classes: tuple[str, ...]
    encoders: tuple[TextEncoder, ...]
    decode: Callable[[Any, Tensor], Tensor]
    denoiser: str = "unet"
    requires: tuple[str, ...] = ()

    @property
    def has_pooled(self) -> bool:
        """Whether the denoiser is also given a vector of the whole prompt."""
        return any(encoder.pooled for encoder in self.encoders)

    def encoder(self, name: str | None) -> TextEncoder:
        """The declaration of one text encoder; None: the first.

        Raises
        ------
        ValueError
            If the family has none of that name; says which there are.
        """
        if name is None:
            return self.encoders[0]
        for encoder in self.encoders:
            if encoder.name == name:
                return encoder
        there = ", ".join(repr(encoder.name) for encoder in self.encoders)
        raise ValueError(f"text_encoder: {self.pipeline_classes[0]} has {there}; got {name!r}")

    def stock_class(self, pipe: Any) -> type[Any]:
        """The diffusers class of a pipeline, also where it is of a subclass with a `__call__` of its own."""
        return next(base for base in type(pipe).__mro__ if base.__name__ in self.pipeline_classes)


def _inside(encoder: nn.Module, path: str) -> Any:
    """A part of an encoder; CLIP's lay inside `text_model` before transformers 5.6."""
    return reduce(getattr, path.split("."), getattr(encoder, "text_model", encoder))
