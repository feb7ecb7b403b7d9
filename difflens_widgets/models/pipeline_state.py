"""What a run changes on a user's pipeline for a moment, put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor


@contextmanager
def dtype_restored(module: Any, meanwhile: torch.dtype | None = None) -> Iterator[None]:
    """Give `module` back in the dtype it came in, also after an error; `meanwhile`: cast it to this one first."""
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
    """Hide the pipeline's own progress bar, and give the user's setting back."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)


@contextmanager
def watched_predictions(scheduler: Any, keep: Callable[[Tensor | None], None]) -> Iterator[None]:
    """Hand each step's prediction of the clean latents to `keep`; None from a scheduler that does not tell it."""
    step = scheduler.step

    @wraps(step)  # pipelines ask for the signature to see whether `generator` and `eta` may be passed
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
        del scheduler.step  # the class's own method shows again


def _keeps_predictions(scheduler: Any) -> bool:
    """Multistep solvers "++" keep the predicted clean latents of their last steps."""
    plus_plus = str(scheduler.config.get("algorithm_type", "")).endswith("dpmsolver++")
    return hasattr(scheduler, "model_outputs") and (plus_plus or scheduler.config.get("predict_x0", False))
