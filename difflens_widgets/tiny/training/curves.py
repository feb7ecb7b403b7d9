"""The training curves of a work folder as one figure.

``python -m difflens_widgets.tiny.training.curves FOLDER OUT.svg`` draws it.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

_STAGES = {  # by the names of their files
    "text_encoder": "text encoder: contrastive loss",
    "autoencoder": "autoencoder: L1 + L2 + edges",
    "decoder": "decoder, fine-tuned: L1 + L2 + edges",
    "picture_encoder": "image encoder: contrastive loss",
    "judge": "judge: centres, colours, sizes",
    "unet": "U-Net: velocity loss, things weighing more, + 0.05 × layout",
}


def read_curve(path: Path) -> tuple[list[int], list[float]]:
    """The steps and the mean losses up to them that `_loop.fit` wrote."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line["step"] for line in lines], [line["loss"] for line in lines]


def figure(folder: Path) -> Figure:
    """One panel for each stage that has a curve in `folder`, losses on a logarithmic scale.

    Raises
    ------
    ValueError
        If no stage has.
    """
    there = [name for name in _STAGES if (folder / f"{name}.jsonl").exists()]
    if not there:
        raise ValueError(f"{folder}: no curve of any stage ({', '.join(_STAGES)}) is there")
    sheet = Figure(figsize=(3.2 * len(there), 2.6), layout="constrained")
    for axes, name in zip(sheet.subplots(1, len(there), squeeze=False)[0], there, strict=True):
        axes.plot(*read_curve(folder / f"{name}.jsonl"), color="#0072b2", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())  # too many over decades
        axes.set_title(textwrap.fill(_STAGES[name], 36), fontsize=7)
        axes.set_xlabel("step", fontsize=7)
        axes.tick_params(labelsize=6, which="both")
        axes.grid(color="0.9", linewidth=0.5)
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(prog="python -m difflens_widgets.tiny.training.curves", description=__doc__)
    parser.add_argument("folder", type=Path, help="the work folder of a training")
    parser.add_argument("out", type=Path, help="by its ending: .svg, .png, .pdf")
    options = parser.parse_args(arguments)
    try:
        figure(options.folder).savefig(options.out, dpi=150)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
