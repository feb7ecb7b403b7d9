"""Model families, loading, and the view of a pipeline that a run works on.

A pipeline of an unknown family is refused: with a wrong norm or index, images would look right but mean nothing.
"""

from __future__ import annotations

from typing import Any

from .families.aura_flow import AURA_FLOW
from .families.chroma import CHROMA
from .families.cogview4 import COGVIEW4
from .families.deepfloyd_if import DEEPFLOYD_IF
from .families.flux import FLUX
from .families.flux2 import FLUX2, FLUX2_KLEIN
from .families.lumina2 import LUMINA2
from .families.pixart import PIXART
from .families.qwen_image import QWEN_IMAGE
from .families.sana import SANA
from .families.stable_diffusion_3 import STABLE_DIFFUSION_3
from .families.z_image import Z_IMAGE
from .family import Family, TextEncoder
from .latents import PACKED, PATCHES, PLAIN, LatentLayout
from .stable_diffusion import STABLE_DIFFUSION
from .stable_diffusion_xl import STABLE_DIFFUSION_XL

FAMILIES: tuple[Family, ...] = (
    STABLE_DIFFUSION,
    STABLE_DIFFUSION_XL,
    STABLE_DIFFUSION_3,
    FLUX,
    FLUX2,
    FLUX2_KLEIN,
    Z_IMAGE,
    QWEN_IMAGE,
    CHROMA,
    PIXART,
    SANA,
    LUMINA2,
    AURA_FLOW,
    COGVIEW4,
    DEEPFLOYD_IF,
)
"""The families of this package."""

_REGISTERED: dict[str, Family] = {}  # by pipeline class
_VARIANTS = (
    "Img2Img",
    "Inpaint",
    "ControlNet",
    "PAG",
)  # of one task each; with the modules of a text-to-image pipeline
_OTHER_VARIANTS = {"LatentConsistencyModel": "StableDiffusionPipeline"}  # named otherwise than their family

__all__ = [
    "FAMILIES",
    "PACKED",
    "PATCHES",
    "PLAIN",
    "Family",
    "LatentLayout",
    "TextEncoder",
    "families",
    "family_of",
    "register_family",
    "require_encoder",
    "require_supported",
]


def register_family(family: Family) -> Family:
    """Make a family of your own known to the lens; `check_family` then tests what it declares.

    The lens exchanges what a text encoder's `forward` returns, and calls your pipeline with a list of prompts. So the
    pipeline needs `encode_prompt`, one `scheduler.step` in each step, and the usual arguments `prompt`,
    `num_inference_steps`, `generator` (a list) and `output_type="np"`; templates, masks and guidance stay its own code.

    To find out what to declare, read `encode_prompt`: which encoder it calls, and what it takes of the output. `[0]` or
    `last_hidden_state` is ``reads=(), normed=True`` for nearly all encoders, `hidden_states[-2]` is ``reads=(-2,)``.

    For `attention=True`, a family with a transformer also declares its `TextAttention`: where the text's keys are.

    Parameters
    ----------
    family : Family
        One with the same pipeline classes that was registered before is replaced.

    Returns
    -------
    Family
        The same.

    Raises
    ------
    TypeError
        If it is no Family.
    ValueError
        If it names no pipeline class, or no text encoder with layers, or a class that this package declares itself.

    Examples
    --------
    >>> from difflens_widgets import DiffusionLens, Family, TextEncoder, check_family
    >>> from difflens_widgets.models.latents import PACKED, decode_scaled
    >>> family = register_family(  # doctest: +SKIP
    ...     Family(
    ...         pipeline_classes=("OvisImagePipeline",),
    ...         encoders=(TextEncoder("text_encoder", "tokenizer", "layers", "norm", normed=True),),
    ...         decode=decode_scaled,
    ...         denoiser="transformer",
    ...         latents=PACKED,
    ...         multiple=16,
    ...         dtype="bfloat16",
    ...     )
    ... )
    >>> print(check_family(pipe, height=256, width=256))  # doctest: +SKIP
    >>> lens = DiffusionLens(pipe)  # doctest: +SKIP
    """
    if not isinstance(family, Family):
        raise TypeError(f"family: expected a Family, got {type(family).__name__}: {family!r}")
    if isinstance(family.pipeline_classes, str) or not family.pipeline_classes:
        raise ValueError(f"family: pipeline_classes must be a tuple of class names, got {family.pipeline_classes!r}")
    if not family.examined:
        raise ValueError("family: encoders has no text encoder that could be examined; give at least one TextEncoder")
    own = {name for each in FAMILIES for name in each.pipeline_classes}
    if taken := own.intersection(family.pipeline_classes):
        raise ValueError(
            f"family: {', '.join(sorted(taken))} is declared by difflens_widgets; give your pipeline a class of its own"
        )
    _REGISTERED.update(dict.fromkeys(family.pipeline_classes, family))
    return family


def families() -> dict[str, Family]:
    """All families by the names of their pipeline classes, the registered ones too."""
    return {**{name: family for family in FAMILIES for name in family.pipeline_classes}, **_REGISTERED}


def require_supported(pipeline_class: str, where: str = "pipe", text_encoder: str | None = None) -> Family:
    """The family of a pipeline class; needs no loaded pipeline.

    Raises
    ------
    ValueError
        If no family has this class (the message lists the supported ones), or the family has no such text encoder.
    """
    supported = families()
    if pipeline_class not in supported:
        raise ValueError(f"{where}: the lens has no family for {pipeline_class}; {_fix_hint(pipeline_class)}")
    supported[pipeline_class].encoder(text_encoder)
    return supported[pipeline_class]


def _fix_hint(pipeline_class: str) -> str:
    """What a user of a pipeline without a family can do."""
    others = f"it supports {', '.join(families())}; others can be declared: see difflens_widgets.register_family"
    if "Modular" in pipeline_class:
        return f"a modular pipeline has blocks in place of the one call that the lens makes; {others}"
    stock = next((stock for name, stock in _OTHER_VARIANTS.items() if pipeline_class.startswith(name)), None)
    if stock is None and any(variant in pipeline_class for variant in _VARIANTS):
        stems = [name for name in families() if pipeline_class.startswith(name.removesuffix("Pipeline"))]
        stock = max(stems, key=len, default=None)
    return others if stock is None else f"give the lens {stock}.from_pipe(pipe), which has the same modules"


def family_of(pipe: Any) -> Family:
    """The family of a loaded pipeline; a subclass belongs to the family of its parent class.

    Raises
    ------
    ValueError
        If there is none, or a component that the family requires was not loaded.
    """
    names = [base.__name__ for base in type(pipe).__mro__]
    name = type(pipe).__name__
    if "ModularPipeline" in names and "Modular" not in name:
        name = f"{name} (a ModularPipeline)"
    known = families()
    family = require_supported(next((name for name in names if name in known), name))
    for name in family.requires:
        if getattr(pipe, name, None) is None:
            raise ValueError(f"pipe: this {type(pipe).__name__} has no {name}, without which it cannot be conditioned")
    return family


def require_encoder(pipe: Any, family: Family, text_encoder: str | None) -> TextEncoder:
    """The declaration of a text encoder that the pipeline was loaded with.

    Raises
    ------
    ValueError
        If the family has no such text encoder, the pipeline was loaded without it, or it has no layers to look at.
    """
    encoder = family.encoder(text_encoder)
    others = " or ".join(repr(each.name) for each in family.examined if getattr(pipe, each.name, None) is not None)
    if getattr(pipe, encoder.name, None) is None:
        hint = f"; give text_encoder={others}" if others else ""
        raise ValueError(f"text_encoder: this {type(pipe).__name__} was loaded without {encoder.name}{hint}")
    if encoder.only_pooled:
        raise ValueError(
            f"text_encoder: of {encoder.name}, {type(pipe).__name__} reads only one pooled vector of the last block, "
            f"so it has no layers to look at; give {others}"
        )
    return encoder
