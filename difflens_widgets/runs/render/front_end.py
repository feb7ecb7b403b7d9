"""A lens run as trait values of a widget."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from ..notes import notes, prompt_note
from ..record import RunRecord
from ..tokens import PromptPart, TokenKey
from ..variant import Variant
from .encoding import encode_final, encode_kept

_SO_FAR = "This is what was painted so far."
FIRST_VARIANT = -3
"""The number of the first variant; those of the others are less."""
_PARTS = {PromptPart.PADDING: -1, PromptPart.PROMPT: -2}


def token_number(token: TokenKey) -> int:
    """The position of a token; -1 for `PromptPart.PADDING`, -2 for `PromptPart.PROMPT`, -3 and less for variants."""
    if isinstance(token, Variant):
        return FIRST_VARIANT - token.number
    return _PARTS[token] if isinstance(token, PromptPart) else int(token)


def frame_key(layer: int, step: int | None = None, token: TokenKey | None = None) -> str:
    """The key of an image in `_frames`: of a layer with the whole prompt, with one token, or at one denoising step."""
    if token is not None:
        return f"layer/{layer}/token/{token_number(token)}"
    return f"layer/{layer}" if step is None else f"layer/{layer}/step/{step}"


def shown_layers(run: RunRecord) -> list[int]:
    """The requested layers of a run, ascending from the embeddings."""
    return sorted(run.layers)


class Place(NamedTuple):
    """Which picture of a run is shown: the traits `layer` and `token` of a LayerSlider."""

    layer: int
    token: int | None


def on_screen(run: RunRecord, layer: int | None = None, token: int | None = None) -> Place:
    """Which picture to show of a run: the one at the place that is on screen now, as far as the run has it.

    Else the picture that the pipeline itself gives; of a patch or steering the first change that is painted, as without
    one it shows what is the same at every layer.
    """
    layers = shown_layers(run)
    now = layer if layer in layers else None
    if not run.variants:
        plain = token is None or token > FIRST_VARIANT
        return Place(layers[-1] if now is None else now, token if plain else None)
    asked = [each for each in run.variants if token == token_number(each) or token in run.token_masks[each]]
    painted = [each for each in run.variants if any((at, each) in run.token_images for at in layers)]
    if not asked and not painted and run.images and run.status != "running":
        return Place(layers[-1] if now is None else now, None)  # stopped before the first change
    variant = (asked or painted or run.variants)[0]
    first = next((at for at in layers if (at, variant) in run.token_images), layers[0])
    return Place(first if now is None else now, token if asked else token_number(variant))


def steps_of(run: RunRecord) -> int:
    """Number of denoising steps of a finished image of this run; 0 if not known."""
    steps = run.settings.get("num_inference_steps")
    return steps if isinstance(steps, int) else 0


def kept_steps(run: RunRecord) -> list[int]:
    """The denoising steps that have snapshots, or for which snapshots were requested; 0 is the first."""
    asked = run.settings.get("snapshots")
    steps = {step for _, step in dict(run.snapshots)}
    if isinstance(asked, list):  # a file may hold any value
        steps.update(step for step in asked if type(step) is int and 0 <= step < steps_of(run))
    return sorted(steps)


def describe(run: RunRecord) -> dict[str, Any]:
    """The description of a run, without its images and its progress."""
    plain: dict[str, Any] = {
        name: value for name, value in run.settings.items() if isinstance(value, str | int | float | bool)
    }
    names = (
        "quality",
        "num_inference_steps",
        "guidance_scale",
        "negative_prompt",
        "height",
        "width",
        "scheduler",
        "model",
        "dtype",
        "method",
        "source",
    )
    lists = {name: run.settings.get(name) for name in ("direction", "without_text")}
    plain |= {name: texts for name, texts in lists.items() if _is_texts(texts)}
    return {
        "prompt": run.prompt,
        "tokens": [asdict(token) for token in run.tokens],
        "layers": shown_layers(run),
        "num_layers": run.num_layers,
        "settings": {"seed": run.seed, **{name: plain[name] for name in (*names, *lists) if name in plain}},
    }


def _is_texts(value: Any) -> bool:  # a file may hold any value
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


FOLLOW = " Show the job in place of its run to follow it."
"""What a widget adds to the notice of a run that is not finished; on a page there is no job."""


def standing(run: RunRecord) -> dict[str, Any]:
    """The progress of a run that is shown without its job, so it will not change."""
    waiting = run.status == "running"
    return {
        "status": "stopped" if waiting else run.status,
        "message": run.message,
        "notice": "\n".join(filter(None, [prompt_note(run), f"{_SO_FAR}{FOLLOW}"])) if waiting else notes(run),
        "progress": {},
        "failures": {str(layer): reason for layer, reason in run.failures.items()},
    }


def painted_frames(run: RunRecord, number: int = 0) -> dict[str, dict[str, Any]]:
    """The images of the whole prompt as entries of a `_frames` trait; `number` counts the runs a widget has shown."""
    images = sorted(dict(run.images).items())
    return {frame_key(layer): frame(steps_of(run), number, *encode_final(image)) for layer, image in images}


def frame(step: int, number: int, mime: str, data: bytes) -> dict[str, Any]:
    """One entry of a `_frames` trait."""
    return {"mime": mime, "step": step, "final": True, "run": number, "data": data}


# -- for a LayerSlider


def describe_slider(run: RunRecord) -> dict[str, Any]:
    """The description of a run, with the axes of a LayerSlider."""
    masks: list[dict[str, Any]] = [
        {"token": token_number(key), "positions": list(mask), **({"label": str(key)} if key in run.variants else {})}
        for key, mask in run.token_masks.items()
    ]
    return {**describe(run), "snapshots": kept_steps(run), "token_masks": masks}


def final_frames(run: RunRecord, number: int = 0) -> dict[str, dict[str, Any]]:
    """All images as entries of a `_frames` trait; `number` counts the runs that a widget has shown."""
    frames = painted_frames(run, number)
    for (layer, step), image in sorted(dict(run.snapshots).items()):
        frames[frame_key(layer, step)] = frame(step + 1, number, *encode_kept(image))
    for (layer, token), image in dict(run.token_images).items():
        frames[frame_key(layer, token=token)] = frame(steps_of(run), number, *encode_kept(image))
    return frames


def record_state(run: RunRecord, number: int = 0) -> dict[str, Any]:
    """The trait values that show a run as it is now, with its images; they will not change."""
    return {
        **describe_slider(run),
        **standing(run),
        "token_failures": {frame_key(layer, token=token): why for (layer, token), why in run.token_failures.items()},
        "_frames": final_frames(run, number),
        "_run": number,
    }
