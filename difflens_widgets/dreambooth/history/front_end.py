"""A training as the traits of an EpochScrubber, and as the view of a page. No torch."""

from __future__ import annotations

import math
from dataclasses import asdict
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ...runs.events import Status
from ...runs.render.front_end import describe, frame, steps_of
from ...runs.render.page import PageView, kept, left_out
from ...runs.run import LensRun
from .events import Alarm, ValidationPrompt
from .render import matrix
from .runs import Runs
from .training_drift import METRICS

FOLLOW = " Show the job instead of its history to follow the training."
"""Said by a widget only: on a page there is no job."""
MAX_POINTS = 240
"""Of the loss curve; it is not wide enough to show more."""
_SIDE = 256  # pixels: a training has hundreds of images
_LOSSLESS = 96  # pixels: smaller images are shown enlarged


class ShownTraining(Protocol):
    """The parts of a TrainingHistory that are shown."""

    config: dict[str, Any]
    model: str
    validation_prompts: tuple[ValidationPrompt, ...]
    alarms: list[Alarm]
    status: Status
    message: str

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs with lens runs."""

    @property
    def losses(self) -> dict[str, np.ndarray]:
        """Name → one number for each logged step."""

    @property
    def runs(self) -> Runs:
        """The lens runs."""


def page_view(history: ShownTraining, thinning: int = 0) -> PageView:
    """The page of an EpochScrubber. Thinned, it has fewer epochs (1, 2), and fewer layers (3, 4)."""
    name = history.validation_prompts[0].prompt if history.validation_prompts else ""
    state, words = history_state(history), []
    if not state["_frames"]:
        raise ValueError(f"this training has no images yet: {name}")
    every, of_layers = (1, 2, 4, 4, 4)[thinning], {3: 2, 4: 4}.get(thinning, 1)
    epochs = kept(state["epochs"], every, always=[alarm["epoch"] for alarm in state["alarms"]])
    layers = kept(state["layers"], of_layers)
    if epochs != state["epochs"]:
        words.append(left_out(every, "epoch"))
    if layers != state["layers"]:
        words.append(left_out(of_layers, "layer"))
    frames = {}
    for key, image in state["_frames"].items():
        _, _, _, epoch, _, layer = key.split("/")  # see `image_key`
        if int(epoch) in epochs and int(layer) in layers:
            frames[key] = image
    rows = [state["layers"].index(layer) for layer in layers]
    drift = {
        key: {metric: [values[row] for row in rows] for metric, values in metrics.items()}
        for key, metrics in state["training_drift"].items()
        if int(key.split("/")[1]) in epochs
    }
    choices = {"epoch": epochs[-1], "layer": layers[-1], "validation_prompt": 0, "color_by": "", "_acknowledged": 0}
    gone = {*state["epochs"]} - {*epochs}
    shown = {"columns": [epoch for epoch in state["columns"] if epoch not in gone], "epochs": epochs, "layers": layers}
    notice = state["notice"].replace(FOLLOW, "")
    state |= {**choices, **shown, "training_drift": drift, "notice": notice, "_frames": frames}
    return PageView("epoch_scrubber", "Training", " ".join(name.split()), state, _stills(history), words)


def _stills(history: ShownTraining) -> list[tuple[str, Image.Image]]:
    """A sheet of each prompt; of a prompt with a run that cannot be read there is none."""
    sheets = []
    for index in range(len(history.validation_prompts)):
        try:
            sheets.append(("", matrix(history.runs, history.validation_prompts, index)))
        except (ValueError, OSError):  # the widget names it
            continue
    return sheets


def image_key(index: int, epoch: int, layer: int) -> str:
    """The key of the image of a validation prompt in the frames that are sent to the browser."""
    return f"prompt/{index}/epoch/{epoch}/layer/{layer}"


def encode_small(image: Image.Image) -> tuple[str, bytes]:
    """Encode one of the many images of a training, at most 256 pixels a side; returns mime type and bytes."""
    buffer = BytesIO()
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=80, lossless=max(small.size) < _LOSSLESS)
    return "image/webp", buffer.getvalue()


def describe_training(history: ShownTraining) -> dict[str, Any]:
    """The traits of a training from which nothing is shown yet."""
    return {
        "validation_prompts": [{**asdict(prompt), "tokens": []} for prompt in history.validation_prompts],
        "columns": planned_epochs(history),
        "epochs": [],
        "layers": [],
        "num_layers": 0,
        "settings": {"model": history.model},
        "alarms": [],
        "losses": {},
        "training_drift": {},
        "progress": {},
    }


def planned_epochs(history: ShownTraining) -> list[int]:
    """The epochs with a validation: those in the history, and those to come if the config tells them."""
    last, every = (history.config.get(name) for name in ("num_train_epochs", "diffusion_lens_epochs"))
    planned: set[int] = set()
    if history.config.get("max_train_steps") is not None:
        return sorted(history.epochs)  # how many epochs these are depends on the number of images
    if type(last) is int and type(every) is int and every > 0 and 0 < last // every <= 1000:  # a file may say anything
        planned = {*range(0, last + 1, every), last}
    return sorted(planned.union(history.epochs))


def of_run(run: LensRun) -> dict[str, Any]:
    """The traits that are the same for all runs: the layers and the settings."""
    about = describe(run)
    return {name: about[name] for name in ("layers", "num_layers", "settings")}


def tokens_of(run: LensRun) -> list[dict[str, Any]]:
    """The tokens of a prompt, as `describe` gives them."""
    return describe(run)["tokens"]


def curve(history: ShownTraining) -> dict[str, Any]:
    """The losses as a curve of at most `MAX_POINTS` points.

    Returns
    -------
    dict
        `points` are (epoch, loss); each is the mean of `steps` steps. Empty if no step was logged.
    """
    losses = history.losses
    epochs, values = losses["epoch"], losses["loss"]
    if not len(values):
        return {}
    # the position of a step within its epoch: epoch 1 lies between 0 and 1
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


def drift_of(history: ShownTraining, index: int, epoch: int) -> dict[str, list[float | None]]:
    """How much each layer of a validation prompt changed since epoch 0, by metric; empty if epoch 0 has no run."""
    if not history.runs.has(0, index):
        return {}
    rows = history.runs.training_drift(epoch, index)
    return {name: [float(f"{value:.4g}") if np.isfinite(value) else None for value in rows[name]] for name in METRICS}


def drift_key(index: int, epoch: int) -> str:
    """The key of a validation prompt and an epoch in the trait `training_drift`."""
    return f"{index}/{epoch}"


def history_state(history: ShownTraining, number: int = 0) -> dict[str, Any]:
    """The traits of a training as it is now, images included; nothing of it will change.

    Runs that cannot be read are left out; the trait `notice` names them.
    """
    state = describe_training(history)
    frames: dict[str, dict[str, Any]] = {}
    unread: list[str] = []
    for index in range(len(history.validation_prompts)):
        for epoch in (each for each in history.epochs if history.runs.has(each, index)):
            try:
                run = history.runs.get_one(epoch, index)
                drift = drift_of(history, index, epoch)
            except (ValueError, OSError) as error:
                unread.append(f"Not shown: {error}")
                continue
            state |= of_run(run)
            state["validation_prompts"][index]["tokens"] = tokens_of(run)
            state["training_drift"][drift_key(index, epoch)] = drift
            for layer, image in sorted(run.images.items()):
                frames[image_key(index, epoch, layer)] = frame(steps_of(run), number, *encode_small(image))
    waiting = history.status == "running"
    hint = f"These are the images so far.{FOLLOW}" if waiting else ""
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
