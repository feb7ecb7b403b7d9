"""What a model family declares, so that the lens can read its text encoders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from torch import Tensor, nn

from .latents import PLAIN, LatentLayout
from .text_attention import TextAttention


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
    only_pooled : bool
        The pipeline reads nothing but the pooled vector, so there is no layer to look at.
    """

    name: str
    tokenizer: str
    blocks: str
    norm: str
    reads: tuple[int, ...] = ()
    normed: bool = False
    pooled: bool = False
    only_pooled: bool = False

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
        All text encoders of the pipeline. The first one is examined by default.
    decode : callable
        (pipeline, latents (row, channel, height, width)) → pixels -1..1 (row, channel, height, width), as at the
        end of the stock pipeline.
    denoiser : str
        The component name of the denoiser, "unet" or "transformer".
    requires : tuple of str
        Components that the pipeline needs for its conditioning.
    latents : LatentLayout
        How the pipeline arranges its latents: `PLAIN` images, or `PACKED` or `PATCHES` sequences.
    multiple : int
        Height and width of an image must be divisible by it, in pixels.
    guidance : str
        The pipeline's argument for classifier-free or distilled guidance: "guidance_scale" or "true_cfg_scale".
    defaults : callable, optional
        (pipeline) → {"num_inference_steps": ..., "guidance_scale": ...} for models that state none; what it leaves out,
        and without it all, is the default of the pipeline's own `__call__`.
    dtype : str
        The dtype to load in on CUDA: "float16", or "bfloat16" where the models were trained so.
    arguments : mapping
        Further fixed arguments of the pipeline's call.
    negative_embeds : bool
        Whether `negative_prompt_embeds` of (tokens, cross_attention_dim) is all that replaces a negative prompt.
    attention : TextAttention, optional
        How the transformer attends to the text. None: `attention=True` is refused (a U-Net needs no declaration).
    """

    pipeline_classes: tuple[str, ...]
    encoders: tuple[TextEncoder, ...]
    decode: Callable[[Any, Tensor], Tensor]
    denoiser: str = "unet"
    requires: tuple[str, ...] = ()
    latents: LatentLayout = PLAIN
    multiple: int = 8
    guidance: str = "guidance_scale"
    defaults: Callable[[Any], Mapping[str, Any]] | None = None
    dtype: str = "float16"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    negative_embeds: bool = False
    attention: TextAttention | None = None

    @property
    def has_pooled(self) -> bool:
        """Whether the denoiser also takes a pooled vector of the whole prompt."""
        return any(encoder.pooled for encoder in self.encoders)

    @property
    def examined(self) -> tuple[TextEncoder, ...]:
        """The text encoders that have layers to look at."""
        return tuple(encoder for encoder in self.encoders if not encoder.only_pooled)

    def encoder(self, name: str | None) -> TextEncoder:
        """The declaration of one text encoder; None means the first.

        Raises
        ------
        ValueError
            If the family has no text encoder of that name; the message lists the names.
        """
        if name is None:
            return self.examined[0]
        for encoder in self.encoders:
            if encoder.name == name:
                return encoder
        there = ", ".join(repr(encoder.name) for encoder in self.examined)
        raise ValueError(f"text_encoder: {self.pipeline_classes[0]} has {there}; got {name!r}")

    def stock_class(self, pipe: Any) -> type[Any]:
        """The diffusers class of a pipeline, even if its own class is a subclass that overrides `__call__`."""
        return next(base for base in type(pipe).__mro__ if base.__name__ in self.pipeline_classes)

    def denoiser_of(self, pipe: Any) -> Any:
        """The denoiser of a pipeline."""
        return getattr(pipe, self.denoiser)

    def call_defaults(self, pipe: Any) -> dict[str, Any]:
        """The arguments of the stock pipeline's call, with their defaults."""
        parameters = inspect.signature(self.stock_class(pipe).__call__).parameters
        return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def _inside(encoder: nn.Module, path: str) -> Any:
    """A part of an encoder; before transformers 5.6, CLIP's parts are inside `text_model`."""
    return reduce(getattr, path.split("."), getattr(encoder, "text_model", encoder))
