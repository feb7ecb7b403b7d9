"""The ``difflens`` command: ``lens``, ``patch``, ``steer``, ``compare``, ``sweep``, ``train``, ``view`` and others."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .._version import __version__
from ..runs.ranges import parse_layers
from .bench import add_bench_command
from .interventions import add_intervention_commands
from .parser import CommandParser
from .reports import error_text, report_failures, report_words
from .targets import COMPARISON_FILE, PAGE_HELP, RUN_FILE, check_targets, page_of, remove_pictures

DEMO_PROMPTS = (
    "a pink cat on a blue background",
    "a red circle and a green square on a white background",
    "a yellow star inside a purple heart",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 2 for an error, 130 after Ctrl-C."""
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return 2
    options, others = parser.parse_known_args(arguments)
    if options.command is _lab:
        options.jupyter = others
    elif others:
        parser.refuse(others)
    logging.basicConfig(level=logging.WARNING, format="difflens: %(message)s")
    warnings.showwarning = lambda message, *_, **__: print(f"difflens: {message}", file=sys.stderr)
    try:
        return options.command(options) or 0
    except (ValueError, TypeError, OSError, ArithmeticError) as error:
        print(f"difflens: {error_text(error, vars(options))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if options.command in (_sweep, _train):
            how = "add --resume to go on" if options.command is _train else "the same command goes on"
            print(f"difflens: stopped; {how}", file=sys.stderr)
        return 130


def _add_run_arguments(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the arguments of every command that paints; `whose` is the model in the help whose defaults hold."""
    parser.add_argument("--device", help="default: cuda, mps or cpu, whichever is there")
    parser.add_argument("--layers", type=parse_layers, help="0:13, 0:13:3, 5 or 0,4,12 (default: all)")
    parser.add_argument("--negative-prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help=f"default: the {whose}'s own, or 20")
    parser.add_argument("--draft", action="store_true", help="fewer steps: a first look, in 0.3 of the time")
    parser.add_argument("--guidance-scale", type=float, help=f"default: the {whose}'s own, or 7.5")
    parser.add_argument("--height", type=int, help=f"in pixels; default: what the {whose} was trained for")
    parser.add_argument("--width", type=int, help="in pixels")
    parser.add_argument(
        "--text-encoder", help="which one, where there are several: text_encoder (default), text_encoder_2"
    )


def add_lens_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `difflens lens` and ``%lens`` have in common: all but the prompt and where to write."""
    parser.add_argument("--model", default="tiny", help='"tiny" (default), a diffusers folder or a hub id')
    _add_run_arguments(parser, whose="model")
    parser.add_argument(
        "--keep-tokens", help='words of the prompt, such as "cat,blue", each looked at by itself, or "all"'
    )
    parser.add_argument(
        "--ablation", action="store_true", help="another question: skip block k instead of stopping at it"
    )


def run_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a `DiffusionLens` call, from those that were parsed."""
    words = options.keep_tokens
    return {
        "keep_tokens": words.split(",") if words not in (None, "all") else words,
        "layers": options.layers,
        "negative_prompt": options.negative_prompt,
        "seed": options.seed,
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "quality": "draft" if options.draft else "exact",
        "height": options.height,
        "width": options.width,
    }


def _parser() -> CommandParser:
    parser = CommandParser(prog="difflens", description="A microscope for text-to-image models.")
    parser.passes_on = True
    parser.add_argument("--version", action="version", version=f"difflens {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lens = commands.add_parser("lens", help="paint what each layer of the text encoder sees")
    lens.add_argument("prompt")
    add_lens_arguments(lens)
    lens.add_argument("--out", type=Path, help="folder for one PNG per picture, grid.png, film.gif and run.lens")
    lens.add_argument("--html", type=Path, help=PAGE_HELP.format("lens"))
    lens.set_defaults(command=_lens)

    add_intervention_commands(commands, _add_run_arguments, run_options)
    versus = commands.add_parser("compare", help="a raw and a tuned model on one prompt: what differs, at which layer")
    versus.add_argument("raw", help='"tiny", a diffusers folder or a hub id')
    versus.add_argument("tuned", help="the same, or LoRA weights for RAW: a .safetensors file or a folder with one")
    versus.add_argument("prompt")
    _add_run_arguments(versus, whose="raw model")
    versus.add_argument(
        "--attribution", action="store_true", help="also cross the encoders and U-Nets of both; takes twice as long"
    )
    versus.add_argument(
        "--out", type=Path, help="folder for one PNG per picture, grid.png, metrics.png and comparison.lenses"
    )
    versus.set_defaults(command=_compare)

    many = commands.add_parser("sweep", help="the lens on many prompts; a sweep that was stopped goes on")
    many.add_argument("prompts", metavar="PROMPTS.txt", type=Path, help="one prompt a line; empty lines are left out")
    many.add_argument("--model", default="tiny", help='"tiny" (default), a diffusers folder or a hub id')
    _add_run_arguments(many, whose="model")
    many.add_argument("--seeds", type=parse_layers, help="0:3 or 0,7 (default: --seed alone)")
    many.add_argument("--workers", type=int, default=1, help="processes, each with a model of its own (default: 1)")
    many.add_argument("--judge", choices=("scene",), help="of the embedded model: are the pictures right?")
    many.add_argument("--out", type=Path, required=True, help="folder for the runs, measures.parquet and plot.png")
    many.set_defaults(command=_sweep)

    train = commands.add_parser("train", help="teach a model one subject (DreamBooth), watched by the lens")
    train.add_argument("config", metavar="CONFIG.yaml", help="settings; train_dog_dreambooth_with_lens.yaml ships too")
    train.add_argument("--resume", action="store_true", help="go on with a training that was stopped or killed")
    train.set_defaults(command=_train)

    demo = commands.add_parser("demo", help="see the lens work on the embedded model; writes one HTML page")
    demo.add_argument("--html", type=Path, default=Path("difflens-demo.html"))
    demo.set_defaults(command=_demo)

    view = commands.add_parser("view", help="open a saved run, comparison or training in the browser")
    view.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE.lens|FILE.lenses|FOLDER",
        help="several become one page with a menu",
    )
    view.add_argument("--html", type=Path, help="where to write the page (default: a temporary folder)")
    view.add_argument("--max-bytes", type=int, help="reduce pictures until the page is no larger")
    view.add_argument("--no-browser", action="store_true", help="only write the page and print its path")
    view.set_defaults(command=_view)

    passed_on = "All other arguments, such as --no-browser or --port 8889, are passed on to jupyter lab."
    lab = commands.add_parser("lab", help="open JupyterLab on the tutorials", epilog=passed_on)
    lab.passes_on = True
    lab.add_argument("--folder", type=Path, default=Path("difflens-tutorials"), help="where your copies go")
    lab.set_defaults(command=_lab)

    site = commands.add_parser("site", help="write the tutorials as a static site with working widgets; runs them all")
    site.add_argument("out", type=Path, metavar="OUT", help="the folder of the site")
    site.add_argument("--only", default="*", help='a pattern for the tutorials, such as "01_*" (default: all)')
    site.set_defaults(command=_site)

    add_bench_command(commands)
    return parser


def _lens(options: argparse.Namespace) -> None:
    from ..lens.diffusion_lens import DiffusionLens

    options.html = page_of("lens", options.out, options.html)
    check_targets(options.out, ("grid.png", "film.gif", RUN_FILE), options.html)
    lens = DiffusionLens.from_pretrained(options.model, device=options.device, text_encoder=options.text_encoder)
    if not options.prompt.strip():
        print("difflens: the prompt is empty: this is what the model paints without one", file=sys.stderr)
    report_words(lens, options.prompt, options.negative_prompt)
    run = (lens.ablate if options.ablation else lens)(options.prompt, **run_options(options))
    report_failures(run)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        remove_pictures(options.out, RUN_FILE)
        for layer, image in run.images.items():
            image.save(options.out / f"layer_{layer:03d}.png")
        for (layer, token), image in run.token_images.items():  # numbers: file names cannot hold every word
            image.save(options.out / f"layer_{layer:03d}_token_{token:03d}.png")
        run.grid().save(options.out / "grid.png")
        run.to_gif(options.out / "film.gif")
        run.save(options.out / RUN_FILE)
        print(options.out.resolve())
    if options.html:
        print(run.to_html(options.html).resolve())


def _compare(options: argparse.Namespace) -> None:
    from ..analysis.comparison.compare import compare
    from ..lens.diffusion_lens import DiffusionLens
    from ..models.tuned import load_tuned_pipeline

    check_targets(options.out, ("grid.png", "metrics.png", COMPARISON_FILE))
    raw = DiffusionLens.from_pretrained(options.raw, device=options.device, text_encoder=options.text_encoder)
    pipe, name = load_tuned_pipeline(options.raw, options.tuned, options.device, text_encoder=options.text_encoder)
    comparison = compare(
        raw,
        DiffusionLens(pipe, model=name, text_encoder=options.text_encoder),
        options.prompt,
        attribution=options.attribution,
        layers=options.layers,
        negative_prompt=options.negative_prompt,
        seed=options.seed,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        quality="draft" if options.draft else "exact",
        height=options.height,
        width=options.width,
    )
    for which, run in comparison.runs.items():
        report_failures(run, f" of {which}")
    columns = {name: f"{name:>{max(9, len(name))}}" for name in comparison.metrics}
    print("layer  " + "  ".join(columns.values()))
    for row, layer in enumerate(comparison.layers):
        values = (f"{values[row]:{len(columns[name])}.4f}" for name, values in comparison.metrics.items())
        print(f"{layer:5}  " + "  ".join(values))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        remove_pictures(options.out, COMPARISON_FILE)
        for which, run in comparison.runs.items():
            for layer, image in run.images.items():
                image.save(options.out / f"layer_{layer:03d}_{which}.png")
        comparison.grid().save(options.out / "grid.png")
        comparison.plot().savefig(options.out / "metrics.png")
        comparison.save(options.out / COMPARISON_FILE)
        print(options.out.resolve())


def _sweep(options: argparse.Namespace) -> int:
    from .sweep import sweep_file

    return sweep_file(options)


def _train(options: argparse.Namespace) -> None:
    from ..dreambooth.config import DreamBoothConfig
    from ..dreambooth.training.trainer import train_dreambooth

    history = train_dreambooth(DreamBoothConfig.from_yaml(options.config), resume=options.resume)
    if os.environ.get("RANK", "0") == "0":  # only one of several processes prints
        print(history.folder.resolve())


def _demo(options: argparse.Namespace) -> None:
    from ..lens.diffusion_lens import DiffusionLens
    from ..runs.render.page import to_html

    check_targets(None, (), options.html)
    runs = DiffusionLens.from_pretrained()(DEMO_PROMPTS)
    page = to_html(runs, options.html, title="difflens: what each layer of the text encoder sees")
    print(page.resolve())


def _view(options: argparse.Namespace) -> None:
    from .view import view

    for line in view(options.paths, options.html, options.max_bytes, browser=not options.no_browser):
        print(line)


def _site(options: argparse.Namespace) -> None:
    from .site import build_site

    print(build_site(options.out, partial(print, flush=True), only=options.only).resolve())


def _lab(options: argparse.Namespace) -> int:
    from .tutorials import copy_tutorials

    folder = copy_tutorials(options.folder)
    command = [sys.executable, "-m", "jupyterlab", *options.jupyter, str(folder)]
    try:
        import jupyterlab  # noqa: F401
    except ImportError:
        raise ValueError('JupyterLab is not installed: pip install "difflens_widgets[lab]"') from None
    print(f"tutorials: {folder.resolve()}", flush=True)
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
