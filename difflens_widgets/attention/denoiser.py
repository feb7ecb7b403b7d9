"""What capture asks of a denoiser, whatever it is built of: what its forwards draw and where its text keys are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

# diffusers' own processors that do the arithmetic otherwise than by torch's scaled_dot_product_attention
_WAYS_OUT = {
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
    """What one forward of the denoiser draws.

    Attributes
    ----------
    rows : of the batch, with those of the guidance
    first : the first row that is conditioned on the prompt; from there on, each row is a picture
    grid : (height, width) of the latents
    text : how many of the keys are text, where the forward tells
    """

    rows: int
    first: int
    grid: tuple[int, int]
    text: int | None = None


@dataclass(frozen=True)
class Window:
    """Which queries and keys of one call are kept.

    Attributes
    ----------
    queries : the picture's, row by row
    tokens : the keys that the plan's tokens stand for
    others : for each of the plan's `others`, its keys
    shape : how many queries and keys the call has
    """

    queries: slice
    tokens: slice
    others: tuple[slice, ...]
    shape: tuple[int, int]


@dataclass(frozen=True)
class AttentionLayer(ABC):
    """One attention module in which the picture looks at the text.

    Attributes
    ----------
    name : the module's name in the denoiser
    block : the block it is in, which its maps are named after
    heads : how many heads it has
    module : the module itself, with the user's processor
    """

    name: str
    block: str
    heads: int
    module: nn.Module

    @property
    @abstractmethod
    def usual_way_out(self) -> str:
        """What puts diffusers' own processors back."""

    @abstractmethod
    def size(self, height: int, width: int) -> tuple[int, int]:
        """The resolution here, given that of the latents."""

    @property
    def described(self) -> str:
        """What errors call it."""
        return f"{self.name} ({type(getattr(self.module, 'processor', self.module)).__name__})"

    @property
    def way_out(self) -> str:
        """What helps where it cannot be watched."""
        processor = type(getattr(self.module, "processor", None)).__name__
        return f"what helps: {_WAYS_OUT.get(processor) or self.usual_way_out}"


class Denoiser(ABC):
    """A pipeline's denoiser.

    Attributes
    ----------
    pipe : the stock pipeline
    module : the denoiser itself
    layers : its modules to watch, in the order they work in
    others : what is looked at beside the tokens, in the same softmax; each has one map
    """

    others: tuple[str, ...] = ()

    def __init__(self, pipe: Any, module: nn.Module, layers: Sequence[AttentionLayer]) -> None:
        self.pipe, self.module, self.layers = pipe, module, tuple(layers)

    @abstractmethod
    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """What a forward with these arguments draws; None: not what the prompt says, and so not of interest."""

    @abstractmethod
    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """Where a layer's queries and keys are, in the call over the text; `tokens` is how many the plan has."""


def refuse_compiled(denoiser: nn.Module, called: str) -> None:
    """Raise a ValueError if some of the denoiser is compiled: nothing can be read inside."""
    for name, module in denoiser.named_modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                f"attention: {name or called} is compiled (torch.compile), so nothing can be read inside it; "
                "what helps: capture on a pipeline that is not compiled"
            )


def refuse_unreadable(layers: Sequence[AttentionLayer]) -> None:
    """Raise a ValueError if a layer has one of diffusers' processors that is known to do its own arithmetic."""
    for layer in layers:
        processor = type(layer.module.processor)
        # a user's own class may bear the same name and is judged when it runs
        if processor.__module__.startswith("diffusers.") and processor.__name__ in _WAYS_OUT:
            raise ValueError(
                f"attention: {layer.described} does not call torch's scaled_dot_product_attention, so nothing can be "
                f"read there; {layer.way_out}"
            )
