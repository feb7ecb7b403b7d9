"""Renames the fields of a version 1 record to those of version 2; checks nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .attention_json import upgrade_attention

_SETTINGS = {"steps": "num_inference_steps", "question": "method", "chunk": "batch_size", "encoder": "text_encoder"}
_ENCODERS = {1: "text_encoder", 2: "text_encoder_2"}
_KINDS = {"start": "bos", "end": "eos"}


def upgrade(record: Mapping[str, Any], minor: int) -> dict[str, Any]:
    """Convert a run.json of version 1.`minor` to version 2.

    Version 1.0 has no images of single tokens, 1.1 no attention maps: fields with these names are ignored there.
    """
    new = dict(record)
    new["settings"] = upgrade_settings(record.get("settings"))
    new["tokens"] = [_token(item) for item in tokens] if isinstance(tokens := record.get("tokens"), list) else tokens
    kept = record.get("kept") if minor >= 1 else []
    new["token_masks"] = [_mask(item) for item in kept] if isinstance(kept, list) else kept
    if minor < 1:
        new |= {"token_images": [], "token_failures": []}
    new["attention"] = upgrade_attention(record.get("attention")) if minor >= 2 else None
    return new


def upgrade_settings(settings: Any) -> Any:
    """The settings of a run, under their present names."""
    if not isinstance(settings, dict):
        return settings
    new = {_SETTINGS.get(name, name): value for name, value in settings.items()}
    encoder = new.get("text_encoder")
    if type(encoder) is int:
        new["text_encoder"] = _ENCODERS.get(encoder, f"text_encoder_{encoder}")
    return new


def _token(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    new = {"is_continuation" if name == "joined" else name: value for name, value in item.items()}
    if isinstance(kind := new.get("kind"), str):
        new["kind"] = _KINDS.get(kind, kind)
    return new


def _mask(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {"positions" if name == "places" else name: value for name, value in item.items()}
