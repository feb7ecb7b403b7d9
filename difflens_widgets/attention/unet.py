"""A U-Net's cross-attention modules, and whether they can be captured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .denoiser import AttentionLayer, Denoiser, Forward, Window, refuse_compiled, refuse_unreadable


@dataclass(frozen=True)
class CrossLayer(AttentionLayer):
    """One cross-attention module of a U-Net, such as "up_blocks.1.attentions.0.transformer_blocks.0.attn2".

    Attributes
    ----------
    block : str
        "down_blocks.0", "mid_block", "up_blocks.1", ...
    num_downsamples : int
        How many times the latents' height and width are halved, rounded up, before this layer.
    """

    num_downsamples: int

    @property
    def default_fix_hint(self) -> str:
        """The call that brings back diffusers' default processors."""
        return "pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor2_0())"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Give this layer's (height, width), for latents of `height` × `width`."""
        for _ in range(self.num_downsamples):
            height, width = -(-height // 2), -(-width // 2)
        return height, width


class UNetDenoiser(Denoiser):
    """The U-Net of SD 1.x, 2.x and SDXL: its cross-attention has the prompt's tokens as keys and nothing else."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe, pipe.unet, cross_attention_layers(pipe.unet))

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
        """Tell what a forward computes: with guidance, the first half of the rows has the negative prompt."""
        latents = args[0] if args else kwargs["sample"]
        height, width = latents.shape[-2:]
        guided = bool(self.pipe.do_classifier_free_guidance)
        return Forward(len(latents), len(latents) // 2 if guided else 0, (height, width))

    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """All queries and keys of the call."""
        height, width = layer.size(*forward.grid)
        return Window(slice(None), slice(None), (), (height * width, tokens))


def cross_attention_layers(unet: Any) -> tuple[CrossLayer, ...]:
    """Find all cross-attention modules of a U-Net, in the order in which they run.

    Raises
    ------
    ValueError
        If there is none, or if one is known not to be readable before it runs: it is compiled, or its processor does
        not call torch's `scaled_dot_product_attention`. The message names the module and what helps.
    """
    refuse_compiled(unet, "the U-Net")
    num_downsamples = _num_downsamples(unet)
    layers = [
        CrossLayer(name, block, module.heads, module, num_downsamples[block])
        for name, module in unet.named_modules()
        if getattr(module, "is_cross_attention", False) and (block := _block(name)) in num_downsamples
    ]
    layers.sort(key=lambda layer: list(num_downsamples).index(layer.block))  # named_modules() has mid_block last
    if not layers:
        raise ValueError(f"attention: {type(unet).__name__} has no cross-attention that could be read")
    refuse_unreadable(layers)
    return tuple(layers)


def _block(name: str) -> str:
    first, second, *_ = f"{name}..".split(".")
    return first if first == "mid_block" else f"{first}.{second}"


def _num_downsamples(unet: Any) -> dict[str, int]:
    """How often the latents are downsampled before each block; a block's own sampler runs after its attention."""
    found, count = {}, 0
    for index, block in enumerate(unet.down_blocks):
        found[f"down_blocks.{index}"] = count
        count += getattr(block, "downsamplers", None) is not None
    found["mid_block"] = count
    for index, block in enumerate(unet.up_blocks):
        found[f"up_blocks.{index}"] = count
        count -= getattr(block, "upsamplers", None) is not None
    return found
