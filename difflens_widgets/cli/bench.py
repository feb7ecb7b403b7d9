"""Chooses the measurement that ``difflens bench`` asks for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from .bench_attention import bench_attention
from .bench_draft import bench_draft
from .bench_dreambooth import bench_dreambooth
from .bench_lens import bench_lens


def bench_lines(options: argparse.Namespace) -> Iterator[str]:
    """Return the lines to print, as they are measured.

    Raises
    ------
    ValueError
        For options that belong to another measurement.
    """
    if options.batch_sizes and options.what != "lens":
        raise ValueError("--batch-sizes: only `difflens bench lens` compares batch sizes")
    if options.draft and options.what != "lens":
        raise ValueError("--draft: only `difflens bench lens` compares drafts")
    if options.what == "dreambooth":
        return bench_dreambooth(options.model, options.steps, options.repeats)
    if options.what == "attention":
        return bench_attention(options.model, options.steps, options.repeats)
    if options.draft:
        return bench_draft(options.model, options.steps, options.repeats)
    return bench_lens(options.model, options.steps, options.repeats, options.batch_sizes or ())
