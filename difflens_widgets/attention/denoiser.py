"""What attention capture must know about a denoiser, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

# diffusers' attention processors that do not call torch's scaled_dot_product_attention, and what replaces them;
# "": the layer's `default_fix_hint`
_FIX_HINTS = {
    "AttnProcessor": "",
    "CustomDiffusionAttnProcessor": "",
    "CustomDiffusionXFormersAttnProcessor": "",
    "IPAdapterAttnProcessor": "",
    "IPAdapterXFormersAttnProcessor": "pipe.disable_xformers_memory_efficient_attention()",
    "SlicedAttnProcessor": "pipe.disable_attention_slicing()",
    "XFormersAttnProcessor": "pipe.disable_xformers_memory_efficient_attention()",
    "XFormersJointAttnProcessor": "pipe.disable_xformers_memory_efficient_attention()",
}


@dataclass(frozen=True)
class Forward:
    """What one forward of the denoiser computes.

    Attributes
    ----------
    rows : int
        The size of the batch, with the rows of the guidance.
    first : int
        The first row that is conditioned on the prompt. This row and each row after it is one image.
    grid : (int, int)
        (height, width) of the latents.
    text : int or None
        How many of the keys are text. None: the forward's arguments do not say.
    """

    rows: int
    first: int
    grid: tuple[int, int]
    text: int | None = None


@dataclass(frozen=True)
class Window:
    """Which queries and keys of an SDPA call the maps are made of.

    Attributes
    ----------
    queries : slice
        The image's queries, in row-major order of the pixels.
    tokens : slice
        The keys of the plan's tokens.
    rest : tuple of slice
        The keys of each of the plan's `rest_names`.
    shape : (int, int)
        How many queries and keys the call has.
    positions : sequence of int, optional
        The position of the token that each of the keys `tokens` is of, where the pipeline drops some. Default: 0, 1, …
    """

    queries: slice
    tokens: slice
    rest: tuple[slice, ...]
    shape: tuple[int, int]
    positions: Sequence[int] | None = None


@dataclass(frozen=True)
class AttentionLayer(ABC):
    """One attention module in which the image attends to the text.

    Attributes
    ----------
    name : str
        The module's name in the denoiser.
    block : str
        The denoiser's block that it belongs to. Maps are kept for each block.
    heads : int
    module : torch.nn.Module
        With its attention processor.
    """

    name: str
    block: str
    heads: int
    module: nn.Module

    @property
    @abstractmethod
    def default_fix_hint(self) -> str:
        """The call that brings back diffusers' default processors."""

    @abstractmethod
    def size(self, height: int, width: int) -> tuple[int, int]:
        """Give this layer's (height, width), for latents of `height` × `width`."""

    @property
    def described(self) -> str:
        """The layer's name and processor, for error messages."""
        return f"{self.name} ({type(getattr(self.module, 'processor', self.module)).__name__})"

    @property
    def fix_hint(self) -> str:
        """What the user can do where the layer cannot be captured."""
        processor = type(getattr(self.module, "processor", None)).__name__
        return f"what helps: {_FIX_HINTS.get(processor) or self.default_fix_hint}"


class Denoiser(ABC):
    """The denoiser of a pipeline, as attention capture sees it.

    Attributes
    ----------
    pipe : diffusers.DiffusionPipeline
    module : torch.nn.Module
        The U-Net or transformer.
    layers : tuple of AttentionLayer
        In the order in which they run.
    rest_names : tuple of str
        What else is in the softmax beside the tokens; each has one map. Empty for cross-attention.
    """

    rest_names: tuple[str, ...] = ()

    def __init__(self, pipe: Any, module: nn.Module, layers: Sequence[AttentionLayer]) -> None:
        self.pipe, self.module, self.layers = pipe, module, tuple(layers)

    @abstractmethod
    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """Tell from the arguments of a forward what it computes; None: a forward without the prompt, not captured."""

    @abstractmethod
    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """Tell where the queries and keys are in a layer's SDPA call over the text, for a plan of `tokens` tokens."""


def refuse_compiled(denoiser: nn.Module, called: str) -> None:
    """Raise a ValueError if a part of the denoiser is compiled; `called` is its name in the message.

    Nothing can be read inside a compiled module.
    """
    for name, module in denoiser.named_modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"attention: {name or called} is compiled (torch.compile), so nothing can be read inside it; "
                "what helps: capture on a pipeline that is not compiled"
            )


def refuse_unreadable(layers: Sequence[AttentionLayer]) -> None:
    """Raise a ValueError if a layer has a processor of diffusers that does not call SDPA."""
    for layer in layers:
        processor = type(layer.module.processor)
        # a user's class may have the same name: what it calls is known when it runs
        if processor.__module__.startswith("diffusers.") and processor.__name__ in _FIX_HINTS:
            raise ValueError(
                f"attention: {layer.described} does not call torch's scaled_dot_product_attention, so nothing can be "
                f"read there; {layer.fix_hint}"
            )
