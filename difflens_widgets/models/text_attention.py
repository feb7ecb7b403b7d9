"""What a family declares about its transformer's attention to the text, so that the lens can capture it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn


def _as_given(transformer: nn.Module, arguments: Mapping[str, Any]) -> int:
    return arguments["encoder_hidden_states"].shape[1]


@dataclass(frozen=True)
class TextAttention:
    """How a transformer attends to the text.

    Attributes
    ----------
    modules : tuple of str
        The attention modules with text keys, in the order in which they run; "*" is the number of a block, such as
        "transformer_blocks.*.attn". The path before the module is the name of its block in a run.
    keys : "text first", "image first" or "text"
        Joint attention: in which order a module joins text and image. "text": cross-attention, the text alone.
    prompt : "second half", "first half" or "first forward"
        With classifier-free guidance, where the prompt's rows are: in a half of the batch, the negative prompt in the
        other one; or in the first of two forwards of a step.
    processor : str
        The full name of diffusers' default attention processor of these modules.
    patch : int, optional
        Height and width, in latents, of the patch that an image token stands for. Default: the transformer's own
        `config.patch_size`.
    multiple : int
        The image's tokens are padded to a multiple of it.
    num_keys : callable
        (transformer, arguments of its forward by name) → the number of text keys. Default: the positions of its
        `encoder_hidden_states`.
    own : callable, optional
        (pipeline, name of a text encoder, number of text keys) → the slice of the text keys that are of this encoder.
        Default: all of them. If it is given, the others are the rest "other text" of a map.
    template : bool
        Whether the pipeline writes a template around the prompt. Then only a lens run knows the tokens of its calls,
        and `capture_attention` refuses the pipeline.
    positions : callable, optional
        (number of positions of the encoder, number of its keys) → the encoder's position of each key, where the
        pipeline drops some. Default: all positions, one key each.
    """

    modules: tuple[str, ...]
    keys: Literal["text first", "image first", "text"]
    prompt: Literal["second half", "first half", "first forward"]
    processor: str
    patch: int | None = None
    multiple: int = 1
    num_keys: Callable[[nn.Module, Mapping[str, Any]], int] = _as_given
    own: Callable[[Any, str, int], slice] | None = None
    template: bool = False
    positions: Callable[[int, int], Sequence[int]] | None = None

    def blocks_in(self, transformer: nn.Module) -> dict[str, Any]:
        """The attention modules of a transformer by the name of their block."""
        found: dict[str, Any] = {}
        for path in self.modules:
            blocks, _, inside = path.partition(".*.")
            for number, block in enumerate(getattr(transformer, blocks, ())):
                found[f"{blocks}.{number}"] = block.get_submodule(inside)
        return found
