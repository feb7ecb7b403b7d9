"""Where each model family's hidden states are read, and what its stock pipeline wants for each layer.

One file per family. A pipeline of no known family is refused: a wrong norm or a missing pooled vector would give
pictures that look right and mean nothing.
"""

from __future__ import annotations

from typing import Any

from .ablated import AblatedConditioning
from .base import Conditioning, Encoding
from .clip import CLIPConditioning
from .sdxl import SDXLConditioning

FAMILIES: tuple[type[Conditioning], ...] = (CLIPConditioning, SDXLConditioning)

__all__ = ["FAMILIES", "AblatedConditioning", "Conditioning", "Encoding", "conditioning_for", "require_supported"]


def require_supported(pipeline_class: str, where: str = "pipe", encoder: str | None = None) -> None:
    """Refuse a pipeline class of no known family, or an encoder it does not have, before anything is loaded.

    Raises
    ------
    ValueError
        Naming the class and the ones that are supported.
    """
    supported = {name: family for family in FAMILIES for name in family.pipeline_classes}
    if pipeline_class not in supported:
        raise ValueError(f"{where}: the lens has no family for {pipeline_class}; it supports {', '.join(supported)}")
    supported[pipeline_class].check_encoder(encoder)


def conditioning_for(pipe: Any, encoder: str | None = None) -> Conditioning:
    """The family's conditioning for a loaded diffusers pipeline, on the `encoder`-th of its text encoders."""
    names = [base.__name__ for base in type(pipe).__mro__]  # a subclass belongs to its parent's family
    for family in FAMILIES:
        if any(name in names for name in family.pipeline_classes):
            return family(pipe, encoder)
    require_supported(type(pipe).__name__)
    raise AssertionError("unreachable")
