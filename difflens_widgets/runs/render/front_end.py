"""A lens run as the traits of a widget: what the browser needs to show it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..record import RunRecord
from ..tokens import PromptPart, TokenKey
from .encoding import encode_final, encode_kept

_PARTS = {PromptPart.PADDING: -1, PromptPart.PROMPT: -2}


def token_number(token: TokenKey) -> int:
    """A token's index, -1 for `PromptPart.PADDING`, -2 for `PromptPart.PROMPT`."""
    return _PARTS[token] if isinstance(token, PromptPart) else int(token)


def frame_key(layer: int, step: int | None = None, token: TokenKey | None = None) -> str:
    """The name under which a picture travels: a layer's, of the whole prompt or of one token; or at one step."""
    if token is not None:
        return f"layer/{layer}/token/{token_number(token)}"
    return f"layer/{layer}" if step is None else f"layer/{layer}/step/{step}"


def shown_layers(run: RunRecord) -> list[int]:
    """The layers of a run in the order of the film: from the embedding on."""
    return sorted(run.layers)


def steps_of(run: RunRecord) -> int:
    """How many denoising steps a finished picture of this run has; 0 if the run does not say."""
    steps = run.settings.get("num_inference_steps")
    return steps if isinstance(steps, int) else 0


def kept_steps(run: RunRecord) -> list[int]:
    """The denoising steps that snapshots were asked for, or are there of; 0 is the first."""
    asked = run.settings.get("snapshots")
    steps = {step for _, step in dict(run.snapshots)}
    if isinstance(asked, list):  # a file may say anything
        steps.update(step for step in asked if type(step) is int and 0 <= step < steps_of(run))
    return sorted(steps)


def describe(run: RunRecord) -> dict[str, Any]:
    """What a run is, without its pictures and without how far it is."""
    plain = {name: value for name, value in run.settings.items() if isinstance(value, str | int | float | bool)}
    names = (
        "num_inference_steps",
        "guidance_scale",
        "negative_prompt",
        "height",
        "width",
        "scheduler",
        "model",
        "dtype",
        "method",
    )
    return {
        "prompt": run.prompt,
        "tokens": [asdict(token) for token in run.tokens],
        "layers": shown_layers(run),
        "num_layers": run.num_layers,
        "settings": {"seed": run.seed, **{name: plain[name] for name in names if name in plain}},
    }


def standing(run: RunRecord) -> dict[str, Any]:
    """How far a run is; nothing of that will change by itself."""
    waiting = run.status == "running"
    return {
        "status": "stopped" if waiting else run.status,
        "message": run.message,
        "notice": "This is what was painted so far. Show the job in place of its run to follow it." if waiting else "",
        "progress": {},
        "failures": {str(layer): reason for layer, reason in run.failures.items()},
    }


def painted_frames(run: RunRecord, number: int = 0) -> dict[str, dict[str, Any]]:
    """The pictures of the whole prompt as entries of a `_frames` trait; `number` counts the runs a widget has shown."""
    images = sorted(dict(run.images).items())
    return {frame_key(layer): frame(steps_of(run), number, *encode_final(image)) for layer, image in images}


def frame(step: int, number: int, mime: str, data: bytes) -> dict[str, Any]:
    """An entry of a `_frames` trait."""
    return {"mime": mime, "step": step, "final": True, "run": number, "data": data}


# -- of a LayerSlider


def describe_slider(run: RunRecord) -> dict[str, Any]:
    """What a run is, with the axes that a LayerSlider has."""
    masks = [{"token": token_number(key), "positions": list(mask)} for key, mask in run.token_masks.items()]
    return {**describe(run), "snapshots": kept_steps(run), "token_masks": masks}


def final_frames(run: RunRecord, number: int = 0) -> dict[str, dict[str, Any]]:
    """All pictures as the entries of a `_frames` trait; `number` counts the runs that a widget has shown."""
    frames = painted_frames(run, number)
    for (layer, step), image in sorted(dict(run.snapshots).items()):
        frames[frame_key(layer, step)] = frame(step + 1, number, *encode_kept(image))
    for (layer, token), image in dict(run.token_images).items():
        frames[frame_key(layer, token=token)] = frame(steps_of(run), number, *encode_kept(image))
    return frames


def record_state(run: RunRecord, number: int = 0) -> dict[str, Any]:
    """The traits that show a run as it stands, pictures included; nothing of it will change by itself."""
    return {
        **describe_slider(run),
        **standing(run),
        "token_failures": {frame_key(layer, token=token): why for (layer, token), why in run.token_failures.items()},
        "_frames": final_frames(run, number),
        "_run": number,
    }


def static_state(run: RunRecord, layer: int | None = None) -> dict[str, Any]:
    """The trait values of a LayerSlider that shows `run` and has no kernel, for a page of its own.

    The pictures are bytes in ``state["_frames"][key]["data"]``; everything else is JSON. No comm is opened.
    """
    return {
        **record_state(run),
        "layer": shown_layers(run)[-1] if layer is None else layer,
        "step": None,
        "token": None,
        "_acknowledged": 0,
        "_static": True,  # not a trait: there never was a kernel, so do not offer what would need one
    }
