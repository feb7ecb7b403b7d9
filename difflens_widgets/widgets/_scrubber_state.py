"""A training as the traits of an EpochScrubber: what the browser needs to show it."""

from __future__ import annotations

import math
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from ..dreambooth.history.drift import MEASURES
from ..dreambooth.history.history import TrainingHistory
from ..runs.render.front_end import describe, frame, steps_of
from ..runs.run import LensRun

MAX_POINTS = 240
"""Of the loss curve; more than a curve of its width has pixels to tell apart."""
_SIDE = 256  # pixels: a training has hundreds of pictures
_LOSSLESS = 96  # pixels: below, every pixel is seen enlarged


def picture_key(probe: int, epoch: int, layer: int) -> str:
    """The name under which a picture travels."""
    return f"probe/{probe}/epoch/{epoch}/layer/{layer}"


def encode_small(image: Image.Image) -> tuple[str, bytes]:
    """Mime type and bytes of one of the very many pictures of a training: at most 256 pixels a side."""
    buffer = BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=80, lossless=max(small.size) < _LOSSLESS)
    return "image/webp", buffer.getvalue()


def describe_training(history: TrainingHistory) -> dict[str, Any]:
    """What a training is, without how far it is."""
    return {
        "probes": [{**asdict(probe), "tokens": []} for probe in history.probes],
        "columns": planned_epochs(history),
        "epochs": [],
        "layers": [],
        "num_layers": 0,
        "settings": {"model": history.model},
        "alarms": [],
        "losses": {},
        "drift": {},
        "progress": {},
    }


def planned_epochs(history: TrainingHistory) -> list[int]:
    """The epochs that will be painted, where the config tells; with those that are."""
    last, every = (history.config.get(name) for name in ("num_train_epochs", "diffusion_lens_epochs"))
    planned: set[int] = set()
    if type(last) is int and type(every) is int and every > 0 and 0 < last // every <= 1000:  # a file may say anything
        planned = {*range(0, last + 1, every), last}
    return sorted(planned.union(history.epochs))


def of_run(run: LensRun) -> dict[str, Any]:
    """What the first run tells of all: the layers and the settings."""
    about = describe(run)
    return {name: about[name] for name in ("layers", "num_layers", "settings")}


def tokens_of(run: LensRun) -> list[dict[str, Any]]:
    """The tokens of a probe."""
    return describe(run)["tokens"]


def curve(history: TrainingHistory) -> dict[str, Any]:
    """The losses as a curve of at most `MAX_POINTS`, each the mean of as many steps.

    Returns
    -------
    dict
        `points` are (epoch, loss); `steps` is how many steps one is the mean of. Empty while there are none.
    """
    losses = history.losses
    epochs, values = losses["epoch"], losses["loss"]
    if not len(values):
        return {}
    # where in its epoch a step is: epoch 1 lies between 0 and 1
    _, begins, counts = np.unique(epochs, return_index=True, return_counts=True)
    begin, count = (np.repeat(each, counts) for each in (begins, counts))
    places = epochs - 1 + (np.arange(len(epochs)) - begin + 1) / np.maximum(count, 1)
    bin_size = math.ceil(len(values) / MAX_POINTS)
    points = []
    for start in range(0, len(values), bin_size):
        part = values[start : start + bin_size]
        if np.isfinite(part).any():
            place = float(places[start : start + bin_size].mean())
            points.append([round(place, 4), float(f"{np.nanmean(part[np.isfinite(part)]):.5g}")])
    return {"points": points, "steps": bin_size}


def drift_of(history: TrainingHistory, probe: int, epoch: int) -> dict[str, list[float | None]]:
    """How far each layer has moved since epoch 0, by measure; empty where epoch 0 was not painted."""
    if not history.has(0, probe):
        return {}
    rows = history.runs.drift(epoch, probe)
    return {name: [float(f"{value:.4g}") if np.isfinite(value) else None for value in rows[name]] for name in MEASURES}


def place_key(probe: int, epoch: int) -> str:
    """The name of a column of a probe's matrix in the `drift` trait."""
    return f"{probe}/{epoch}"


def history_state(history: TrainingHistory, number: int = 0) -> dict[str, Any]:
    """The traits that show a training as it stands, pictures included; nothing of it will change by itself.

    What cannot be read is left out and told in `notice`.
    """
    state = describe_training(history)
    frames: dict[str, dict[str, Any]] = {}
    unread: list[str] = []
    for probe in range(len(history.probes)):
        for epoch in (each for each in history.epochs if history.has(each, probe)):
            try:
                run = history.run(epoch, probe)
                drift = drift_of(history, probe, epoch)
            except (ValueError, OSError) as error:
                unread.append(f"Not shown: {error}")
                continue
            state |= of_run(run)
            state["probes"][probe]["tokens"] = tokens_of(run)
            state["drift"][place_key(probe, epoch)] = drift
            for layer, image in sorted(run.images.items()):
                frames[picture_key(probe, epoch, layer)] = frame(steps_of(run), number, *encode_small(image))
    waiting = history.status == "running"
    hint = "This is what was painted so far. Show the job in place of its history to follow it." if waiting else ""
    return {
        **state,
        "epochs": list(history.epochs),
        "alarms": [asdict(alarm) for alarm in history.alarms],
        "losses": curve(history),
        "status": "stopped" if waiting else history.status,
        "message": history.message,
        "notice": "\n".join(filter(None, [hint, *unread])),
        "_frames": frames,
        "_run": number,
    }
