"""Temporary changes to a user's pipeline, which are undone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor


@contextmanager
def dtype_restored(module: Any, meanwhile: torch.dtype | None = None) -> Iterator[None]:
    """Restore the dtype of `module` at the end, also after an error; `meanwhile`: cast it to this one first."""
    before = module.dtype
    if meanwhile is not None and meanwhile != before:
        module.to(meanwhile)
    try:
        yield
    finally:
        if module.dtype != before:
            module.to(before)


@contextmanager
def quiet(pipe: Any) -> Iterator[None]:
    """Hide the pipeline's own progress bar, then restore the user's setting."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


@contextmanager
def watched_predictions(scheduler: Any, keep: Callable[[Tensor | None], None]) -> Iterator[None]:
    """Pass each step's prediction of the clean latents to `keep`; None if the scheduler does not return it."""
    step = scheduler.step

    @wraps(step)  # pipelines read the signature to find out whether it takes `generator` and `eta`
    def watched(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        output = step(*args, **kwargs, return_dict=True)
        prediction = getattr(output, "pred_original_sample", None)
        if prediction is None and _keeps_predictions(scheduler):
            prediction = scheduler.model_outputs[-1]
        keep(prediction)
        return output if return_dict else (output.prev_sample,)

    scheduler.step = watched
    try:
        yield
    finally:
        del scheduler.step  # uncovers the class's own method


def _keeps_predictions(scheduler: Any) -> bool:
    """Whether a scheduler keeps its last clean predictions, as multistep "++" solvers do."""
    plus_plus = str(scheduler.config.get("algorithm_type", "")).endswith("dpmsolver++")
    return hasattr(scheduler, "model_outputs") and (plus_plus or scheduler.config.get("predict_x0", False))
