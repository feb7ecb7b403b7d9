"""Checks the arguments of a call of the lens, and creates one job for each prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..models import Family, TextEncoder, checks
from ..models.view import PipelineView
from ..runs.job import LensJob
from .batch_size import chosen
from .methods import Lens, Method
from .prepare import Shared
from .settings import RunOptions, read_settings
from .token_mask import token_positions


class AnyLens(Protocol):
    """What of a `DiffusionLens` its jobs need."""

    pipe: Any
    family: Family
    model: str
    batch_invariant: bool
    compiled: bool

    @property
    def batch_size(self) -> int:
        """The most rows that are denoised at once."""

    @property
    def num_layers(self) -> int:
        """Number of layers of the examined text encoder."""

    def view(self) -> PipelineView:
        """A copy of the pipeline for one run."""


def jobs_of(
    lens: AnyLens, encoder: TextEncoder, prompt: str | Sequence[str], method: Method | None, options: RunOptions
) -> list[LensJob]:
    """Check every argument, then create one job for each prompt; `options` must hold all options.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid.
    """
    texts = checks.prompts(prompt, options["negative_prompt"])
    count = lens.num_layers if method is None else method.num_layers
    layers = checks.layers(options["layers"], count)
    reads = len(encoder.reads) or 1
    settings = read_settings(lens.pipe, lens.batch_size, options, reads, batch_invariant=lens.batch_invariant)
    if method is not None and settings.slots != "cut":
        raise ValueError(f"slots: only for the lens itself, not for a run of the {method.name}; got {settings.slots!r}")
    method = method or Lens(encoder.name, count, settings.slots)
    keep = options["keep_tokens"]
    if isinstance(keep, Iterator):  # it is read again for each prompt
        keep = list(keep)
    view = lens.view()
    masks = [token_positions(keep, text, view.tokenize) for text in texts]
    how = chosen(lens), lens.compiled
    shared = Shared(lens.pipe, lens.family, encoder, lens.model, method, layers, count, settings, *how)
    others = options["negative_prompt"], options["attention"]
    return [shared.job(t, view.tokenize(t), mask, *others) for t, mask in zip(texts, masks, strict=True)]
