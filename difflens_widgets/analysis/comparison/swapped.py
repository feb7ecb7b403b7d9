"""Two models: whether they can be compared, and a lens with the text encoder of one and the U-Net of the other."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from ...lens.batch_size import chosen
from ...lens.diffusion_lens import DiffusionLens
from ...models import checks
from ...models.own_tokenizer import without_processor
from ...models.weight_hash import UNHASHED, weight_hash

_DENOISER = (
    *("in_channels", "out_channels", "sample_size", "cross_attention_dim", "addition_embed_type"),
    *("num_layers", "num_attention_heads", "joint_attention_dim", "caption_channels", "cap_feat_dim", "text_embed_dim"),
)
_ENCODER = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size", "projection_dim")


def require_comparable(
    raw: DiffusionLens, tuned: DiffusionLens, prompt: str, height: int | None, width: int | None
) -> None:
    """Refuse two models that cannot paint one prompt from the same noise with the same settings.

    Raises
    ------
    ValueError, TypeError
        With the name of the part that differs.
    """
    for name, lens in (("raw", raw), ("tuned", tuned)):
        if not isinstance(lens, DiffusionLens):
            raise TypeError(f"{name}: expected a DiffusionLens, got {type(lens).__name__}")
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: expected one str, got {type(prompt).__name__}: {prompt!r}")
    _same("family", *(lens.family.pipeline_classes[0] for lens in (raw, tuned)))
    _same("encoder", raw.text_encoder, tuned.text_encoder)
    _same("number of layers", raw.num_layers, tuned.num_layers)
    denoisers = [lens.family.denoiser_of(lens.pipe) for lens in (raw, tuned)]
    _same("latents' channels", *(denoiser.config.in_channels for denoiser in denoisers))
    _same("picture size", *(checks.size(lens.pipe, height, width) for lens in (raw, tuned)))
    _same("scheduler", *(_scheduler(lens.pipe) for lens in (raw, tuned)))
    _same("device", *(lens.pipe.device.type for lens in (raw, tuned)))
    _same("dtype", *(denoiser.dtype for denoiser in denoisers))
    _same("prompt's tokens", *(lens.tokenize(prompt)[0] for lens in (raw, tuned)))
    names = (raw.family.denoiser, *(encoder.name for encoder in raw.family.encoders))
    if raw.pipe is not tuned.pipe and all(getattr(raw.pipe, each) is getattr(tuned.pipe, each) for each in names):
        raise ValueError(
            "tuned: its pipeline has the very modules of raw, so what was loaded into one is in both; load the model a "
            "second time"
        )


def require_swappable(raw: DiffusionLens, tuned: DiffusionLens) -> None:
    """Refuse two comparable models whose text encoders and U-Nets do not fit together, or that differ in other parts.

    Raises
    ------
    ValueError
        With the name of the part that differs.
    """
    a, b = raw.pipe, tuned.pipe
    name = _denoiser_name(raw)
    geometries = [_geometry(raw.family.denoiser_of(pipe), _DENOISER) for pipe in (a, b)]
    _same(f"{name}'s geometry", *geometries, swapping=True)
    for encoder in raw.family.encoders:
        parts = [getattr(pipe, encoder.name) for pipe in (a, b)]
        shapes = [part if part is None else _geometry(part, _ENCODER) for part in parts]
        _same(f"{encoder.name}'s geometry", *shapes, swapping=True)
        tokenizers = [getattr(pipe, encoder.tokenizer) for pipe in (a, b)]
        words = [None if part is None else without_processor(part).get_vocab() for part in tokenizers]
        if words[0] != words[1]:
            raise ValueError(f"attribution: the vocabulary of the {encoder.tokenizer} differs between raw and tuned")
    vaes = [getattr(pipe, "vae", None) for pipe in (a, b)]
    if vaes[0] is not vaes[1] and not _equal(*vaes):
        raise ValueError(
            "attribution: the autoencoders of raw and tuned differ, so the encoder and the "
            f"{name} alone do not make the difference; give both pipelines the same vae"
        )


def swapped_lens(encoder_of: DiffusionLens, rest_of: DiffusionLens) -> DiffusionLens:
    """Make a lens with the text encoders of one model and everything else of the other; nothing is copied."""
    pipe, stock = rest_of.pipe, rest_of.family.stock_class(rest_of.pipe)
    parts = dict(pipe.components)
    parts.update({each.name: getattr(encoder_of.pipe, each.name) for each in rest_of.family.encoders})
    accepted = inspect.signature(stock).parameters
    flags = {name: value for name, value in pipe.config.items() if name in accepted and name not in parts}
    name = f"encoder of {encoder_of.model}, {_denoiser_name(rest_of)} of {rest_of.model}"
    return with_rows_of(rest_of, DiffusionLens(stock(**parts, **flags), model=name, text_encoder=rest_of.text_encoder))


def _denoiser_name(lens: DiffusionLens) -> str:
    return "U-Net" if lens.family.denoiser == "unet" else lens.family.denoiser


def with_rows_of(raw: DiffusionLens, lens: DiffusionLens, most: int | None = None) -> DiffusionLens:
    """Return a lens whose forwards have as many rows as those of `raw`: else pictures differ in their last bits.

    For the same reason it takes the denoiser as it is, never compiled: of two models only one may be ready.

    Parameters
    ----------
    raw, lens : DiffusionLens
    most : int, optional
        The most rows at once, in place of `raw.batch_size`.
    """
    options: dict[str, Any] = {"batch_size": most or chosen(raw), "batch_invariant": raw.batch_invariant}
    return DiffusionLens(lens.pipe, model=lens.model, text_encoder=lens.text_encoder, **options)


def _same(what: str, raw: Any, tuned: Any, *, swapping: bool = False) -> None:
    if raw != tuned:
        if isinstance(raw, dict) and isinstance(tuned, dict):  # name only what differs
            names = [name for name in {**raw, **tuned} if raw.get(name) != tuned.get(name)]
            raw, tuned = ({name: each.get(name) for name in names} for each in (raw, tuned))
        argument = "attribution" if swapping else "tuned"
        raise ValueError(f"{argument}: the {what} differs: {_brief(tuned)}, where raw has {_brief(raw)}")


def _brief(value: Any) -> str:
    if isinstance(value, tuple) and value and hasattr(value[0], "kind"):
        return repr(" ".join(token.text for token in value if token.kind == "word")[:120])
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:159]}…"


def _scheduler(pipe: Any) -> dict[str, Any]:
    """Class and settings, without the names with a `_` that say where a config was loaded from."""
    settings = {name: value for name, value in pipe.scheduler.config.items() if not name.startswith("_")}
    return {"class": type(pipe.scheduler).__name__, **settings}


def _geometry(part: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(part.config, name, None) for name in names}


def _equal(a: Any, b: Any) -> bool:
    hashes = {weight_hash(SimpleNamespace(components={"part": module})) for module in (a, b)}
    return len(hashes) == 1 and not hashes.pop().startswith(UNHASHED)
