"""Model families, loading, and the view of a pipeline that a run works on.

A pipeline of an unknown family is refused: with a wrong norm or index, images would look right but mean nothing.
"""

from __future__ import annotations

from typing import Any

from .family import Family, TextEncoder
from .stable_diffusion import STABLE_DIFFUSION
from .stable_diffusion_xl import STABLE_DIFFUSION_XL

FAMILIES: tuple[Family, ...] = (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)

__all__ = ["FAMILIES", "Family", "TextEncoder", "family_of", "require_encoder", "require_supported"]


def require_supported(pipeline_class: str, where: str = "pipe", text_encoder: str | None = None) -> Family:
    """The family of a pipeline class; needs no loaded pipeline.

    Raises
    ------
    ValueError
        If no family has this class (the message lists the supported ones), or the family has no such text encoder.
    """
    supported = {name: family for family in FAMILIES for name in family.pipeline_classes}
    if pipeline_class not in supported:
        raise ValueError(f"{where}: the lens has no family for {pipeline_class}; it supports {', '.join(supported)}")
    supported[pipeline_class].encoder(text_encoder)
    return supported[pipeline_class]


def family_of(pipe: Any) -> Family:
    """The family of a loaded pipeline; a subclass belongs to the family of its parent class.

    Raises
    ------
    ValueError
        If there is none, or a component that the family requires was not loaded.
    """
    names = [base.__name__ for base in type(pipe).__mro__]
    known = {name for family in FAMILIES for name in family.pipeline_classes}
    family = require_supported(next((name for name in names if name in known), type(pipe).__name__))
    for name in family.requires:
        if getattr(pipe, name, None) is None:
            raise ValueError(f"pipe: this {type(pipe).__name__} has no {name}, without which it cannot be conditioned")
    return family


def require_encoder(pipe: Any, family: Family, text_encoder: str | None) -> TextEncoder:
    """The declaration of a text encoder that the pipeline was loaded with.

    Raises
    ------
    ValueError
        If the family has no such text encoder, or the pipeline was loaded without it.
    """
    encoder = family.encoder(text_encoder)
    if getattr(pipe, encoder.name, None) is None:
        raise ValueError(f"text_encoder: this {type(pipe).__name__} was loaded without {encoder.name}")
    return encoder
