"""What is asked of attention capture. Needs no torch."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

Aggregator = Literal["mean", "daam"]


@dataclass(frozen=True)
class AttentionOptions:
    """How attention is captured.

    Parameters
    ----------
    aggregator : "mean" or "daam"
        "mean": the share of a pixel's attention that goes to a token, 0..1, mean over heads, layers and steps; each
        block at its own resolution. "daam": the definition of Tang et al., "What the DAAM", ACL 2023: each
        head's probabilities summed over the steps, resized to the latent grid (bicubic), clamped at 0, then averaged
        over heads and layers. It works on every head by itself, and so needs as many times the memory meanwhile.
    steps : iterable of int, "all" or None
        Denoising steps whose maps are also kept each by itself; 0 is the first. Default: none, only all together.
    budget_mb : float
        How many megabytes (10⁶ bytes) the maps of one run may take. Where they would take more, the largest maps, those
        of single steps first, are averaged over 2 × 2 pixels until they fit.

    Raises
    ------
    ValueError, TypeError
        If a value is none of these.
    """

    aggregator: Aggregator = "mean"
    steps: Iterable[int] | Literal["all"] | None = None
    budget_mb: float = 64.0

    def __post_init__(self) -> None:
        if self.aggregator not in get_args(Aggregator):
            raise ValueError(f'attention: the aggregator is "mean" or "daam", not {self.aggregator!r}')
        if not (math.isfinite(self.budget_mb) and self.budget_mb > 0):
            raise ValueError(f"attention: budget_mb must be a finite number above 0, got {self.budget_mb}")
        if self.steps != "all":
            object.__setattr__(self, "steps", tuple(map(_step, _several(self.steps))))

    def kept_steps(self, steps: int) -> tuple[int, ...]:
        """The steps to keep of a run of `steps`, in order.

        Raises
        ------
        ValueError
            If one is outside 0..steps-1.
        """
        kept = range(steps) if self.steps == "all" else sorted({*_several(self.steps)})
        for step in kept:
            if not 0 <= step < steps:
                raise ValueError(f"attention: step {step} is outside 0..{steps - 1}")
        return tuple(kept)


def read_options(asked: bool | str | AttentionOptions) -> AttentionOptions | None:
    """What an `attention=` argument means; False: nothing is captured.

    Raises
    ------
    ValueError, TypeError
        If it is neither a bool, the name of an aggregator, nor `AttentionOptions`.
    """
    if isinstance(asked, AttentionOptions):
        return asked
    if isinstance(asked, str):
        return AttentionOptions(asked)  # type: ignore[arg-type]  # checked there
    if not isinstance(asked, bool):
        raise TypeError(f'attention: expected True, "mean", "daam" or AttentionOptions(...), got {asked!r}')
    return AttentionOptions() if asked else None


def _several(steps: Any) -> tuple[Any, ...]:
    if steps is None:
        return ()
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        raise TypeError(f'attention: steps are several numbers, such as [0, 5], or "all", got {steps!r}')
    return tuple(steps)


def _step(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"attention: a step is a whole number, got {value!r}") from None
