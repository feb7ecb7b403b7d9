"""The command of an experiment that paints many prompts from many seeds: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...analysis.sweep.engine import processes
from ...lens.diffusion_lens import DiffusionLens
from ...models.sampling_defaults import chosen_or_default
from ...runs.ranges import parse_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Table(Protocol):
    """The result of an experiment, whose text is its table."""

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the pictures."""

    def plot(self) -> Figure:
        """Draw it."""


def table_command(
    arguments: Sequence[str] | None,
    name: str,
    description: str | None,
    counted: str,
    table: Callable[[DiffusionLens, int, dict[str, Any]], Table],
) -> int:
    """Run the command ``python -m difflens_widgets.tiny.evaluation.NAME``; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str or None
        None: those of the process.
    name, description : str
        Of the command.
    counted : str
        What `--prompts` counts.
    table : callable
        Makes the table of a lens, a number of prompts, and options: seeds, layers, path, num_inference_steps,
        guidance_scale and executor.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m difflens_widgets.tiny.evaluation.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="tiny", help='"tiny" (default), or a folder with another training of it')
    parser.add_argument("--prompts", type=int, default=40, help=f"{counted} (default: 40)")
    parser.add_argument("--seeds", type=int, default=3, help="pictures of each prompt at each place (default: 3)")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance-scale", type=float, help="default: the model's own")
    parser.add_argument("--layers", type=parse_layers, help="0:13, 0:13:3 or 0,4,12 (default: all)")
    parser.add_argument("--out", type=Path, help="JSON of all verdicts; if it is there, it is gone on with")
    parser.add_argument("--figure", type=Path, help="picture of the table, by its ending: .png, .svg, .pdf")
    parser.add_argument("--workers", type=int, default=1, help="processes of this machine")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        lens = DiffusionLens.from_pretrained(options.model)
        _, guidance_scale = chosen_or_default(lens.pipe, options.steps, options.guidance_scale)
        asked = {
            "seeds": range(options.seeds),
            "layers": options.layers,
            "path": options.out,
            "num_inference_steps": options.steps,
            "guidance_scale": guidance_scale,
            "executor": processes(options.workers),
        }
        found = table(lens, options.prompts, asked)
        made = f"{options.steps} steps · guidance {guidance_scale:g}"
        number = f"{options.prompts} {counted} × {options.seeds} seeds"
        sys.stdout.write(f"{lens.model} {found.settings['model_hash']} · {made} · {number}\n\n{found}\n")
        if options.figure:
            found.plot().savefig(options.figure, dpi=150)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
