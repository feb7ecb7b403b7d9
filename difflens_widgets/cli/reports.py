"""What a command says besides its results, on stderr."""

from __future__ import annotations

import re
import sys

from ..runs.notes import unknown_note
from ..runs.run import LensRun

_SAME = ("guidance_scale", "negative_prompt", "layers", "seed", "height", "width", "device", "text_encoder")
_OPTIONS = {
    "num_inference_steps": "--steps",
    **{name: f"--{name.replace('_', '-')}" for name in (*_SAME, "keep_tokens", "tokens", "source", "strengths")},
}
"""How the arguments of the lens are given to a command."""
_ERRNO = re.compile(r"^\[Errno \d+\] ")  # the number tells a user nothing


def error_text(error: Exception) -> str:
    """An error in the command line's words: an argument has the name of its option."""
    name = rf"^({'|'.join(_OPTIONS)})(?=[:,] )"
    return re.sub(name, lambda found: _OPTIONS[found[1]], re.sub(_ERRNO, "", str(error)))


def report_failures(run: LensRun, of: str = "") -> None:
    """Name the pictures that are missing, and why."""
    failed = {(layer, None): reason for layer, reason in run.failures.items()} | run.token_failures
    for key, reason in failed.items():
        print(f"difflens: {run.name_of(*key)}{of} has no picture: {reason}", file=sys.stderr)


def report_prompt(run: LensRun) -> None:
    """Say what the model does not know of the prompt; what is cut off was said in a warning already."""
    if not run.prompt.strip():
        print("difflens: the prompt is empty: this is what the model paints without one", file=sys.stderr)
    if note := unknown_note(run):
        print(f"difflens: {note}", file=sys.stderr)
