"""What a command says besides its results, on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..runs.argument_names import with_names
from ..runs.notes import said_of
from ..runs.run import LensRun

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens

_OTHERS = {"num_inference_steps": "steps", "quality": "draft", "direction": "plus"}
"""Arguments of the lens whose options have other names."""
_POSITIONAL = {"prompt", "prompts", "raw", "tuned", "config", "paths"}
_ERRNO = re.compile(r"^\[Errno \d+\] ")  # the number tells a user nothing


def error_text(error: Exception, options: Iterable[str]) -> str:
    """An error in the command line's words: an argument has the name of its option.

    Parameters
    ----------
    error : Exception
    options : iterable of str
        What the command takes, as in its `argparse.Namespace`.
    """
    names = {name: f"--{name.replace('_', '-')}" for name in set(options) - _POSITIONAL}
    names |= {argument: names[option] for argument, option in _OTHERS.items() if option in names}
    return with_names(re.sub(_ERRNO, "", str(error)), names)


def report_failures(run: LensRun, of: str = "") -> None:
    """Name the pictures that are missing, and why."""
    failed = {(layer, None): reason for layer, reason in run.failures.items()} | run.token_failures
    for key, reason in failed.items():
        print(f"difflens: {run.name_of(*key)}{of} has no picture: {reason}", file=sys.stderr)


def report_words(lens: DiffusionLens, *prompts: str | None) -> None:
    """Say before anything is painted which words of some prompts the model does not know."""
    from ..models.known_words import unknown_words
    from ..models.weight_hash import weight_hash

    words = unknown_words(lens.pipe, weight_hash(lens.pipe), filter(None, prompts))
    if words:
        print(f"difflens: {said_of(words)}", file=sys.stderr)
