"""Attention in the runs of a lens: the plan before anything is computed, and the denoiser of each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models import Family, TextEncoder
from ..runs.maps.maps import LensAttention
from ..runs.maps.options import AttentionOptions, read_options
from ..runs.maps.plan import Layer, plan_capture
from ..runs.tokens import Token
from .denoiser import Denoiser
from .transformer import TransformerDenoiser, declared_attention, rest_names, transformer_layers
from .unet import UNetDenoiser, cross_attention_layers


def lens_attention(
    attention: bool | str | AttentionOptions,
    pipe: Any,
    family: Family,
    tokens: Sequence[Token],
    *,
    height: int,
    width: int,
    steps: int,
    pictures: int,
) -> LensAttention | None:
    """Make the empty record of a lens run's attention, with the plan of what is kept; None: not requested.

    Parameters
    ----------
    attention : bool, "mean", "daam" or AttentionOptions
    pipe : the pipeline
    family : its family
    tokens : sequence of Token
        The prompt's, template and padding included.
    height, width : int
        Of the images, in pixels.
    steps : int
        The number of denoising steps.
    pictures : int
        How many layers the run generates.

    Raises
    ------
    ValueError, TypeError
        If capture cannot work as requested, as far as that is known before anything is computed.
    """
    options = read_options(attention)
    if options is None:
        return None
    declared = declared_attention(pipe, family)
    kinds = [token.kind == "pad" for token in tokens]
    if kinds != sorted(kinds):
        raise ValueError(
            f"attention: {type(pipe).__name__} puts padding before the prompt, and maps want it last; leave it out"
        )
    layers: Sequence[Layer] = (
        cross_attention_layers(pipe.unet) if declared is None else transformer_layers(pipe.transformer, declared)
    )
    factor = pipe.vae_scale_factor
    plan = plan_capture(
        layers,
        tokens,
        options,
        grid=(height // factor, width // factor),
        vae_scale_factor=factor,
        steps=steps,
        pictures=pictures,
        rest_names=() if declared is None else rest_names(declared),
    )
    return LensAttention(plan)


def lens_denoiser(pipe: Any, family: Family, encoder: TextEncoder, images: int) -> Denoiser:
    """Make the denoiser of one call of a lens run.

    Parameters
    ----------
    pipe : the pipeline of a `PipelineView`
    family : its family
    encoder : the examined text encoder
    images : int
        How many images the call draws.
    """
    if declared_attention(pipe, family) is None:
        return UNetDenoiser(pipe)
    return TransformerDenoiser(pipe, family, encoder.name, images)
