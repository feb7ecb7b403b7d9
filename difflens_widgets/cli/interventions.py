"""``difflens patch`` and ``difflens steer``: change the states of a prompt after each block, and see what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .reports import report_failures, report_words
from .targets import PAGE_HELP, RUN_FILE, check_targets, page_of, remove_pictures

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens
    from ..runs.run import LensRun


def add_intervention_commands(
    commands: Any,
    add_run_arguments: Callable[..., None],
    run_options: Callable[[argparse.Namespace], dict[str, Any]],
) -> None:
    """Add both commands; those who call it hand in what all commands that paint have in common."""
    patch = commands.add_parser("patch", help="give words the states of another prompt, after each block")
    patch.add_argument("prompt")
    patch.add_argument("--source", required=True, help="the prompt whose states are taken")
    patch.add_argument(
        "--tokens",
        default="different",
        help='"red=blue,cat=cat": a word of the prompt gets the states of one of the source; "different" (default): '
        'the words in which the prompts differ; or "all"',
    )
    patch.add_argument("--output", action="store_true", help="patch only what the denoiser reads; without --layers")
    steer = commands.add_parser("steer", help="add a direction to the states, after each block")
    steer.add_argument("prompt")
    steer.add_argument("--plus", required=True, help="the direction is the mean state of this prompt …")
    steer.add_argument("--minus", required=True, help="… less that of this one")
    steer.add_argument(
        "--strengths",
        type=float,
        nargs="+",
        default=[1.0],
        help="such as -1 1 2: factors of the direction (default: 1)",
    )
    for name, parser, run in (("patch", patch, _patch), ("steer", steer, _steer)):
        parser.add_argument("--model", default="tiny", help='"tiny" (default), a diffusers folder or a hub id')
        add_run_arguments(parser, whose="model")
        parser.add_argument("--out", type=Path, help="folder for one PNG per picture, grid.png and run.lens")
        parser.add_argument("--html", type=Path, help=PAGE_HELP.format(name))
        parser.set_defaults(command=_command(name, run, run_options), keep_tokens=None)


def _command(
    name: str,
    run: Callable[[DiffusionLens, argparse.Namespace, dict[str, Any]], LensRun],
    run_options: Callable[[argparse.Namespace], dict[str, Any]],
) -> Callable[[argparse.Namespace], None]:
    def command(options: argparse.Namespace) -> None:
        from ..lens.diffusion_lens import DiffusionLens

        options.html = page_of(name, options.out, options.html)
        check_targets(options.out, ("grid.png", RUN_FILE), options.html)
        lens = DiffusionLens.from_pretrained(options.model, device=options.device, text_encoder=options.text_encoder)
        _write(run(lens, options, run_options(options)), options)

    return command


def _patch(lens: DiffusionLens, options: argparse.Namespace, run: dict[str, Any]) -> LensRun:
    pairs = parse_pairs(options.tokens)
    report_words(lens, options.prompt, options.source, options.negative_prompt)
    return lens.patch(options.prompt, source=options.source, tokens=pairs, output=options.output, **run)


def _steer(lens: DiffusionLens, options: argparse.Namespace, run: dict[str, Any]) -> LensRun:
    direction = (options.plus, options.minus)
    report_words(lens, options.prompt, *direction, options.negative_prompt)
    return lens.steer(options.prompt, direction=direction, strengths=options.strengths, **run)


def parse_pairs(text: str) -> str | list[tuple[str, str]]:
    """Parse `red=blue,cat=cat`, `different` or `all`.

    Raises
    ------
    ValueError
        If a pair has no "=", or a side of it is empty.
    """
    if text in ("different", "all"):
        return text
    pairs = []
    for pair in text.split(","):
        mine, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (mine and equals and theirs):
            raise ValueError(
                f'--tokens: {pair!r} is no pair such as "red=blue"; give some, separated by commas, or "all"'
            )
        pairs.append((mine, theirs))
    return pairs


def _write(run: LensRun, options: argparse.Namespace) -> None:
    """Write the unchanged picture once, and each changed one by the number of its row."""
    report_failures(run)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        remove_pictures(options.out, RUN_FILE)
        for image in list(run.images.values())[:1]:
            image.save(options.out / "unchanged.png")
        for (layer, row), image in run.token_images.items():  # numbers: file names cannot hold every word
            image.save(options.out / f"layer_{layer:03d}_row_{run.variants.index(row):02d}.png")
        run.grid().save(options.out / "grid.png")
        run.save(options.out / RUN_FILE)
        print(options.out.resolve())
    if options.html:
        print(run.to_html(options.html).resolve())
