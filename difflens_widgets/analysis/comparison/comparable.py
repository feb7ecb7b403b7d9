"""Whether two recorded runs can be compared: one prompt, the same noise, the same settings. No torch."""

from __future__ import annotations

from typing import Any

from ...runs.run import LensRun

_SAME_SETTINGS = (
    *("method", "text_encoder", "scheduler", "negative_prompt", "own_negative_embeds"),
    *("num_inference_steps", "guidance_scale"),
    *("true_cfg_scale", "guidance_rescale", "eta", "cross_attention_kwargs", "height", "width", "own_latents"),
)
_SINCE_2_1 = ("scheduler_config", "generator_hash", "latents_hash")  # what makes the noise; earlier files do not say it


def require_same_kind(raw: LensRun, run: LensRun, name: str) -> None:
    """Refuse a run that differs from the raw one in prompt, noise or settings.

    Raises
    ------
    ValueError
        With the `name` of the run and what differs.
    """
    pairs: dict[str, tuple[Any, Any]] = {
        what: (getattr(raw, what), getattr(run, what)) for what in ("prompt", "tokens", "num_layers", "seed")
    }
    pairs["layers"] = (sorted(raw.layers), sorted(run.layers))
    pairs |= {what: (raw.settings.get(what), run.settings.get(what)) for what in _SAME_SETTINGS}
    pairs["slots"] = (raw.settings.get("slots", "cut"), run.settings.get("slots", "cut"))
    for what in _SINCE_2_1:
        if what in raw.settings and what in run.settings:
            pairs |= _differences(what, raw.settings[what], run.settings[what])
    for what, (of_raw, of_run) in pairs.items():
        if of_raw != of_run:
            raise ValueError(f"{name}: its {what} is {str(of_run)[:80]!r}, expected that of raw, {str(of_raw)[:80]!r}")
    if raw.settings.get("method", "lens") != "lens":
        raise ValueError(f"raw: is a run of the {raw.settings['method']}, expected one of the lens")
    for layer, image in run.images.items():
        if layer in raw.images and raw.images[layer].size != image.size:
            raise ValueError(
                f"{name}: the picture of layer {layer} has {image.size} pixels, not {raw.images[layer].size}"
            )
    for layer, array in run.latents.items():
        if layer in raw.latents and raw.latents[layer].shape != array.shape:
            raise ValueError(f"{name}: the latents of layer {layer} are {array.shape}, not {raw.latents[layer].shape}")


def _differences(what: str, of_raw: Any, of_run: Any) -> dict[str, tuple[Any, Any]]:
    """A setting of both runs; of a dict only the parts that differ, each by its name."""
    if not isinstance(of_raw, dict) or not isinstance(of_run, dict):
        return {what: (of_raw, of_run)}
    names = [name for name in {**of_raw, **of_run} if of_raw.get(name) != of_run.get(name)]
    return {f"{what}[{name!r}]": (of_raw.get(name), of_run.get(name)) for name in names}
