"""The magics of a notebook: ``%lens PROMPT [options]``, and ``%%lens [options]`` with a prompt on each line."""

from __future__ import annotations

import argparse
import re
import shlex
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from ..widgets.layer_slider import LayerSlider
from ..widgets.microscope import Microscope
from .commands import add_lens_arguments, run_options
from .parser import CommandParser
from .reports import error_text

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens


class _Parser(CommandParser):
    """One that raises: a notebook must not be left by a wrong option."""

    passes_on = True  # `parse_known_intermixed_args` calls the others in two steps

    def error(self, message: str) -> NoReturn:
        sign = "%" * (self.prog.count("%") // 2)
        raise ValueError(f"{message}\n{re.sub('%+', sign, self.format_usage().strip(), count=1)}")


class _HelpAskedFor(Exception):
    """The options ask for help, which is printed already."""


def register(shell: Any) -> None:
    """Add the magics to an IPython shell.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    """

    def lens(line: str, cell: str | None = None) -> Any:
        """Show what each layer of the text encoder sees: %lens PROMPT [options]. See `%lens --help`."""
        from IPython.core.error import UsageError

        try:
            return run_magic(line, cell)
        except ValueError as error:
            options = vars(_parse("", in_cell=True))
            raise UsageError(f"%lens: {error_text(error, options)}") from None

    shell.register_magic_function(lens, "line_cell", "lens")


def run_magic(line: str, cell: str | None = None) -> Any:
    """Do what ``%lens`` or, with a `cell`, ``%%lens`` says.

    Parameters
    ----------
    line : str
        The prompt and options of `difflens lens`. Without a prompt: a Microscope with an empty prompt box.
    cell : str, optional
        A prompt on each line; empty lines are left out. The runs follow each other.

    Returns
    -------
    LayerSlider, Microscope or None
        For one prompt, with its run being painted. Sliders of a cell are displayed. None after ``--help``.

    Raises
    ------
    ValueError
        If an option is unknown or not valid, or a cell has no prompt.
    """
    try:
        options = _parse(line, cell is not None)
    except _HelpAskedFor:
        return None
    if cell is None and not options.prompt:
        return Microscope(_lens(options.model, options.device, options.text_encoder))
    prompts = [" ".join(options.prompt)] if cell is None else [each.strip() for each in cell.splitlines()]
    prompts = [prompt for prompt in prompts if prompt]
    if not prompts:
        raise ValueError("write a prompt on each line of the cell")
    lens = _lens(options.model, options.device, options.text_encoder)
    if options.ablation:  # it has no job to follow
        sliders = [LayerSlider(lens.ablate(prompt, **run_options(options))) for prompt in prompts]
    else:
        sliders = [LayerSlider(job) for job in lens.start(prompts, **run_options(options))]
    if cell is None:
        return sliders[0]
    from IPython.display import display

    for slider in sliders:
        display(slider)
    return None


def _parse(line: str, in_cell: bool) -> argparse.Namespace:
    name = "%%%%lens" if in_cell else "%%lens"  # argparse formats it, but not everywhere
    parser = _Parser(prog=name, description="Show what each layer of the text encoder sees.", allow_abbrev=False)
    if not in_cell:
        parser.add_argument("prompt", nargs="*", help="quotes are not needed; none: a prompt box")
    add_lens_arguments(parser)
    try:
        words = shlex.split(line)
    except ValueError:  # an apostrophe, as in a dog's bone
        words = line.split()
    try:
        options, others = parser.parse_known_intermixed_args(words)
    except SystemExit:  # after --help
        raise _HelpAskedFor from None
    if others:
        parser.refuse(others)
    return options


@lru_cache(maxsize=1)
def _lens(model: str, device: str | None, text_encoder: str | None) -> DiffusionLens:
    """Return the lens on a model; the last one is kept, so that a notebook loads its model once."""
    from ..lens.diffusion_lens import DiffusionLens

    return DiffusionLens.from_pretrained(model, device=device, text_encoder=text_encoder)
