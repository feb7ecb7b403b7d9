"""``difflens sweep PROMPTS.txt``: the lens on every line of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ..analysis.sweep.engine import processes
from ..analysis.sweep.result import INSTALL, TABLE, Sweep
from ..analysis.sweep.run import sweep
from ..lens.diffusion_lens import DiffusionLens
from ..tiny.scene_judge import SceneJudge
from .reports import report_words


def sweep_file(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a run failed."""
    prompts = read_prompts(options.prompts)
    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers} must be at least 1")
    lens = DiffusionLens.from_pretrained(options.model, device=options.device, text_encoder=options.text_encoder)
    report_words(lens, *prompts, options.negative_prompt)
    result = sweep(
        lens,
        prompts,
        out=options.out,
        seeds=[options.seed] if options.seeds is None else options.seeds,
        layers=options.layers,
        judge=SceneJudge() if options.judge else None,
        executor=processes(options.workers),
        negative_prompt=options.negative_prompt,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        quality="draft" if options.draft else "exact",
        height=options.height,
        width=options.width,
    )
    for (prompt, seed), reason in result.failures.items():
        print(f"difflens: {prompt!r} from seed {seed} failed: {reason}", file=sys.stderr)
    if len(result.failures) < len(result.prompts) * len(result.seeds):
        result.plot().savefig(options.out / "plot.png")
        for line in table_of(result):
            print(line)
    if not (options.out / TABLE).exists():
        print(f"difflens: {TABLE} was not written: it needs pyarrow, {INSTALL}", file=sys.stderr)
    print(options.out.resolve())
    return 1 if result.failures else 0


def table_of(result: Sweep) -> list[str]:
    """What the plot shows, in lines: a value for each layer, and its 95 % interval."""
    name, unit, digits = ("right", " %", 0) if result.judge else ("SSIM to the last layer", "", 3)
    lines = [f"layer  {name}, and its 95 % interval"]
    for layer, row in zip(result.layers, result.curve(), strict=True):
        middle, low, high = (f"{value:.{digits}f}" for value in row)
        interval = f" ({low} to {high})" if np.isfinite(row).all() else ""  # a single prompt has none
        lines.append(f"{layer:5}  {middle}{unit}{interval}")
    return lines


def read_prompts(path: Path) -> list[str]:
    """The prompts in a text file, one a line; empty lines and repeated ones are left out, and counted on stderr.

    Raises
    ------
    ValueError
        If it holds none, or is no UTF-8 text.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    found = [line.strip() for line in lines if line.strip()]
    different = list(dict.fromkeys(found))
    if not different:
        raise ValueError(f"{path}: holds no prompt; write one a line")
    if len(different) < len(found):
        print(f"difflens: {path}: {len(found) - len(different)} lines occur before; each is run once", file=sys.stderr)
    return different
