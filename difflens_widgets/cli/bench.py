"""The command ``difflens bench``: measurements on this machine, printed and, with ``--json``, written."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runs.format.atomic_write import require_writable
from ..runs.ranges import parse_layers
from .rows import Row, peak_of_this_process, write_json

_OF_MODELS = ("lens", "attention", "dreambooth", "sweep")
_ONLY_FOR: dict[str, tuple[tuple[str, ...], str]] = {
    "model": (_OF_MODELS, "runs a model"),
    "device": (_OF_MODELS, "runs a model"),
    "steps": (_OF_MODELS, "runs a model"),
    "batch_sizes": (("lens",), "compares batch sizes"),
    "draft": (("lens",), "compares drafts"),
    "compiled": (("lens",), "compiles the denoiser"),
    "lens": (("dreambooth",), "trains with the lens"),
    "validations": (("dreambooth",), "trains with the lens"),
    "class_images": (("dreambooth",), "trains with the lens"),
    "minutes": (("channel",), "moves sliders"),
    "units": (("sweep",), "runs a sweep"),
    "workers": (("sweep",), "runs a sweep"),
}
"""option → the measurements that take it, and what these do"""


def add_bench_command(commands: Any) -> None:
    """Add `difflens bench` to the subparsers of the command."""
    bench = commands.add_parser("bench", help="measure on this machine")
    bench.add_argument(
        "what",
        choices=[*_OF_MODELS, "channel"],
        help="the lens, attention capture, training, a sweep, or the widgets in a browser",
    )
    bench.add_argument("--model", help='"tiny" (default), "sd15-random", a diffusers folder or a hub id')
    bench.add_argument("--device", help="default: cuda, mps or cpu, whichever is there")
    bench.add_argument("--steps", type=int, help="denoising steps, or training steps of dreambooth (default: 20)")
    bench.add_argument("--repeats", type=int, default=5, help="how often each is measured, in turns (default: 5)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    bench.add_argument(
        "--batch-sizes", type=parse_layers, help="of the lens: also compare these batch sizes, such as 1,4,7,13"
    )
    bench.add_argument("--draft", action="store_true", default=None, help="of the lens: drafts against exact images")
    bench.add_argument(
        "--compiled", action="store_true", default=None, help="of the lens: also with the compiled denoiser"
    )
    bench.add_argument(
        "--lens", action="store_true", default=None, help="of dreambooth: what the cache of images saves a training"
    )
    bench.add_argument("--validations", type=int, help="of dreambooth --lens: how often the lens runs (default: 8)")
    bench.add_argument("--class-images", type=int, help="of dreambooth --lens: for prior preservation (default: 100)")
    bench.add_argument("--units", type=int, help="of a sweep: how many runs (default: 200)")
    bench.add_argument("--workers", type=int, help="of a sweep: processes (default: 2)")
    bench.add_argument("--minutes", type=float, help="of the widgets: how long the sliders move (default: 0.5)")
    bench.set_defaults(command=run_bench)


def run_bench(options: argparse.Namespace) -> None:
    """Measure, print each row when it is known, and write all at the end.

    Raises
    ------
    ValueError
        For options that cannot work, or belong to another measurement.
    """
    for name, (takers, what) in _ONLY_FOR.items():
        if getattr(options, name) is not None and options.what not in takers:
            only = " or ".join(f"`difflens bench {taker}`" for taker in takers)
            raise ValueError(f"--{name.replace('_', '-')}: only {only} {what}")
    if options.lens is None and (options.validations, options.class_images) != (None, None):
        raise ValueError("--validations, --class-images: only `difflens bench dreambooth --lens` takes them")
    if options.json is not None:
        require_writable(options.json, "the figures")
    rows = []
    for row in _rows(options):
        print(row, flush=True)
        rows.append(row)
    rows.append(peak_of_this_process())
    print(rows[-1], flush=True)
    if options.json is not None:
        given = {name: value for name, value in vars(options).items() if name not in ("json", "command")}
        write_json(options.json, {name: value for name, value in given.items() if value is not None}, rows)


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    """The rows of the measurement that `options` ask for; its libraries are imported here."""
    if options.what == "channel":
        from .bench_channel import bench_channel

        return bench_channel(options.repeats, 0.5 if options.minutes is None else options.minutes)
    model = "tiny" if options.model is None else options.model
    steps = 20 if options.steps is None else options.steps
    about = (model, steps, options.repeats)
    if options.what == "sweep":
        from .bench_sweep import bench_sweep

        given = {"units": options.units, "workers": options.workers}
        return bench_sweep(model, steps, options.device, **{name: n for name, n in given.items() if n is not None})
    if options.lens:
        from .bench_dreambooth_lens import bench_dreambooth_lens

        given = {"validations": options.validations, "class_images": options.class_images}
        return bench_dreambooth_lens(
            *about, options.device, **{name: number for name, number in given.items() if number is not None}
        )
    if options.what == "dreambooth":
        from .bench_dreambooth import bench_dreambooth

        return bench_dreambooth(*about, options.device)
    if options.what == "attention":
        from .bench_attention import bench_attention

        return bench_attention(*about, options.device)
    if options.draft:
        from .bench_draft import bench_draft

        return bench_draft(*about, options.device)
    from .bench_lens import bench_lens

    return bench_lens(*about, options.batch_sizes or (), options.device, compiled=bool(options.compiled))
