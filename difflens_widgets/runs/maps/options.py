"""The options of attention capture. Needs no torch."""

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
        "mean": the share of a pixel's attention that goes to a token, 0..1, as a mean over heads, layers and steps;
        each block at its own resolution. "daam": the definition of Tang et al., "What the DAAM", ACL 2023. Each head's
        probabilities are summed over the steps, resized to the latents' resolution (bicubic) and clamped at 0, and
        then averaged over heads and layers. During the run it holds the map of every head, not only their mean.
    steps : iterable of int, "all" or None
        Denoising steps whose maps are also kept one by one; 0 is the first step. Default: none, only their sum.
    budget_mb : float
        How many megabytes (10⁶ bytes) the maps of one run may take, > 0. Where they would take more, the largest maps
        are averaged over 2 × 2 pixels until they fit, those of single steps first.
    mid_block : bool, optional
        Whether the U-Net's middle block is captured. Default: with "mean" yes, with "daam" no, because DAAM's code
        leaves it out by default (`locate_middle_block=False`). Transformers have no middle block.

    Raises
    ------
    ValueError, TypeError
        If a value is none of these.
    """

    aggregator: Aggregator = "mean"
    steps: Iterable[int] | Literal["all"] | None = None
    budget_mb: float = 64.0
    mid_block: bool | None = None

    def __post_init__(self) -> None:
        if self.aggregator not in get_args(Aggregator):
            raise ValueError(f'attention: the aggregator is "mean" or "daam", not {self.aggregator!r}')
        if not (math.isfinite(self.budget_mb) and self.budget_mb > 0):
            raise ValueError(f"attention: budget_mb must be a finite number above 0, got {self.budget_mb}")
        if self.mid_block is not None and not isinstance(self.mid_block, bool):
            raise TypeError(f"attention: mid_block must be True, False or None, got {self.mid_block!r}")
        if self.steps != "all":
            object.__setattr__(self, "steps", tuple(map(_step, _several(self.steps))))

    @property
    def captures_mid_block(self) -> bool:
        """Whether the U-Net's middle block is captured."""
        return self.aggregator != "daam" if self.mid_block is None else self.mid_block

    def kept_steps(self, num_inference_steps: int) -> tuple[int, ...]:
        """List the steps to keep in a run of `num_inference_steps`, in ascending order.

        Raises
        ------
        ValueError
            If one is outside 0..num_inference_steps-1.
        """
        kept = range(num_inference_steps) if self.steps == "all" else sorted({*_several(self.steps)})
        for step in kept:
            if not 0 <= step < num_inference_steps:
                raise ValueError(f"attention: step {step} is outside 0..{num_inference_steps - 1}")
        return tuple(kept)


def read_options(attention: bool | str | AttentionOptions) -> AttentionOptions | None:
    """Read the value of an `attention=` argument; None: nothing is captured.

    Raises
    ------
    ValueError, TypeError
        If it is neither a bool, the name of an aggregator, nor `AttentionOptions`.
    """
    if isinstance(attention, AttentionOptions):
        return attention
    if isinstance(attention, str):
        return AttentionOptions(attention)  # type: ignore[arg-type]  # checked there
    if not isinstance(attention, bool):
        raise TypeError(f'attention: expected True, "mean", "daam" or AttentionOptions(...), got {attention!r}')
    return AttentionOptions() if attention else None


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
