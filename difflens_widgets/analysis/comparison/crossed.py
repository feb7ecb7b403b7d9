"""Two models side by side: whether they can be compared, and pipelines of one's encoder and the other's U-Net."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from ...lens.diffusion_lens import DiffusionLens
from ...models import checks
from ...models.weight_hash import weight_hash

_UNET = ("in_channels", "out_channels", "sample_size", "cross_attention_dim", "addition_embed_type")
_ENCODER = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size", "projection_dim")


def require_comparable(raw: DiffusionLens, tuned: DiffusionLens, prompt: str, options: dict[str, Any]) -> None:
    """Refuse two models that cannot paint one prompt from the same noise with the same settings.

    Raises
    ------
    ValueError, TypeError
        Naming the part that differs.
    """
    for name, lens in (("raw_lens", raw), ("tuned_lens", tuned)):
        if not isinstance(lens, DiffusionLens):
            raise TypeError(f"{name}: expected a DiffusionLens, got {type(lens).__name__}")
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: expected one str, got {type(prompt).__name__}: {prompt!r}")
    size = (options.get("height"), options.get("width"))
    _same("family", *(lens.family.pipeline_classes[0] for lens in (raw, tuned)))
    _same("encoder", raw.text_encoder, tuned.text_encoder)
    _same("number of layers", raw.num_layers, tuned.num_layers)
    _same("latents' channels", *(lens.pipe.unet.config.in_channels for lens in (raw, tuned)))
    _same("picture size", *(checks.size(lens.pipe, *size) for lens in (raw, tuned)))
    _same("scheduler", *(_scheduler(lens.pipe) for lens in (raw, tuned)))
    _same("device", *(lens.pipe.device.type for lens in (raw, tuned)))
    _same("dtype", *(lens.pipe.unet.dtype for lens in (raw, tuned)))
    _same("prompt's tokens", *(lens.tokenize(prompt)[0] for lens in (raw, tuned)))
    names = ("unet", *(encoder.name for encoder in raw.family.encoders))
    if raw.pipe is not tuned.pipe and all(getattr(raw.pipe, each) is getattr(tuned.pipe, each) for each in names):
        raise ValueError(
            "tuned_lens: its pipeline has the very modules of raw_lens, so what was loaded into one is in both; "
            "load the model a second time"
        )


def require_crossable(raw: DiffusionLens, tuned: DiffusionLens) -> None:
    """Refuse two comparable models whose encoders and U-Nets do not fit together, or differ in more than these.

    Raises
    ------
    ValueError
        Naming the part that differs.
    """
    a, b = raw.pipe, tuned.pipe
    _same("U-Net's geometry", *(_geometry(pipe.unet, _UNET) for pipe in (a, b)), crossing=True)
    for name in (encoder.name for encoder in raw.family.encoders):
        parts = [getattr(pipe, name) for pipe in (a, b)]
        _same(f"{name}'s geometry", *(part and _geometry(part, _ENCODER) for part in parts), crossing=True)
        tokenizer = name.replace("text_encoder", "tokenizer")
        words = [part and part.get_vocab() for part in (getattr(pipe, tokenizer) for pipe in (a, b))]
        if words[0] != words[1]:
            raise ValueError(f"attribution: the vocabulary of the {tokenizer} differs between raw_lens and tuned_lens")
    if a.vae is not b.vae and _hash_of(a.vae) != _hash_of(b.vae):
        raise ValueError(
            "attribution: the autoencoders of raw_lens and tuned_lens differ, so more than encoder and U-Net made "
            "the difference; give both pipelines the same vae"
        )


def crossed(encoder_of: DiffusionLens, rest_of: DiffusionLens) -> DiffusionLens:
    """A lens with the text encoders of one model, and everything else of the other; nothing is copied."""
    pipe, stock = rest_of.pipe, rest_of.family.stock_class(rest_of.pipe)
    parts = dict(pipe.components)
    parts.update({each.name: getattr(encoder_of.pipe, each.name) for each in rest_of.family.encoders})
    accepted = inspect.signature(stock).parameters
    flags = {name: value for name, value in pipe.config.items() if name in accepted and name not in parts}
    name = f"encoder of {encoder_of.model}, U-Net of {rest_of.model}"
    return DiffusionLens(
        stock(**parts, **flags), batch_size=rest_of.batch_size, model=name, text_encoder=rest_of.text_encoder
    )


def with_batch_size(lens: DiffusionLens, batch_size: int) -> DiffusionLens:
    """The lens with this batch size, on which a picture depends in its last bits."""
    if lens.batch_size == batch_size:
        return lens
    return DiffusionLens(lens.pipe, batch_size=batch_size, model=lens.model, text_encoder=lens.text_encoder)


def _same(what: str, raw: Any, tuned: Any, *, crossing: bool = False) -> None:
    if raw != tuned:
        if isinstance(raw, dict) and isinstance(tuned, dict):  # say only what differs
            names = [name for name in {**raw, **tuned} if raw.get(name) != tuned.get(name)]
            raw, tuned = ({name: each.get(name) for name in names} for each in (raw, tuned))
        asked = "attribution" if crossing else "tuned_lens"
        raise ValueError(f"{asked}: the {what} differs: {_brief(tuned)}, where raw_lens has {_brief(raw)}")


def _brief(value: Any) -> str:
    if isinstance(value, tuple) and value and hasattr(value[0], "kind"):
        return repr(" ".join(token.text for token in value if token.kind == "word")[:120])
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:159]}…"


def _scheduler(pipe: Any) -> dict[str, Any]:
    """Class and settings; a loaded config also notes where it came from, under names with a `_`."""
    settings = {name: value for name, value in pipe.scheduler.config.items() if not name.startswith("_")}
    return {"class": type(pipe.scheduler).__name__, **settings}


def _geometry(part: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(part.config, name, None) for name in names}


def _hash_of(module: Any) -> str:
    return weight_hash(SimpleNamespace(components={"part": module}))
