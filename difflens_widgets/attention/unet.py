"""A U-Net's cross-attention modules, and whether they can be watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .denoiser import AttentionLayer, Denoiser, Forward, Window, refuse_compiled, refuse_unreadable


@dataclass(frozen=True)
class CrossLayer(AttentionLayer):
    """One cross-attention module of the U-Net, such as "up_blocks.1.attentions.0.transformer_blocks.0.attn2".

    Attributes
    ----------
    block : the U-Net block it is in: "down_blocks.0", "mid_block", "up_blocks.1"
    halvings : how many times the latent grid is halved (rounded up) until there
    """

    halvings: int

    @property
    def usual_way_out(self) -> str:
        """What puts diffusers' own processors back."""
        return "pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor2_0())"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The resolution here, given that of the latents."""
        for _ in range(self.halvings):
            height, width = -(-height // 2), -(-width // 2)
        return height, width


class UNetDenoiser(Denoiser):
    """The U-Net of SD 1.x, 2.x and SDXL: its cross-attention looks at the prompt's tokens and at nothing else."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe, pipe.unet, cross_attention_layers(pipe.unet))

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
        """Guidance puts as many rows in front, whose text is the negative prompt."""
        latents = args[0] if args else kwargs["sample"]
        height, width = latents.shape[-2:]
        guided = bool(self.pipe.do_classifier_free_guidance)
        return Forward(len(latents), len(latents) // 2 if guided else 0, (height, width))

    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """All of a call."""
        height, width = layer.size(*forward.grid)
        return Window(slice(None), slice(None), (), (height * width, tokens))


def cross_attention_layers(unet: Any) -> tuple[CrossLayer, ...]:
    """All cross-attention modules of a U-Net, in the order they work in.

    Raises
    ------
    ValueError
        If one cannot be watched, as far as that can be told before it runs: it is compiled, or its processor does not
        call torch's `scaled_dot_product_attention`. Names the module and the way out.
    """
    refuse_compiled(unet, "the U-Net")
    halvings = _halvings(unet)
    layers = [
        CrossLayer(name, block, module.heads, module, halvings[block])
        for name, module in unet.named_modules()
        if getattr(module, "is_cross_attention", False) and (block := _block(name)) in halvings
    ]
    layers.sort(key=lambda layer: list(halvings).index(layer.block))  # the U-Net names its middle block last
    if not layers:
        raise ValueError(f"attention: {type(unet).__name__} has no cross-attention that could be read")
    refuse_unreadable(layers)
    return tuple(layers)


def _block(name: str) -> str:
    first, second, *_ = f"{name}..".split(".")
    return first if first == "mid_block" else f"{first}.{second}"


def _halvings(unet: Any) -> dict[str, int]:
    """How often each block's input was halved; the sampler at its end works after its attention."""
    found, count = {}, 0
    for index, block in enumerate(unet.down_blocks):
        found[f"down_blocks.{index}"] = count
        count += getattr(block, "downsamplers", None) is not None
    found["mid_block"] = count
    for index, block in enumerate(unet.up_blocks):
        found[f"up_blocks.{index}"] = count
        count -= getattr(block, "upsamplers", None) is not None
    return found
