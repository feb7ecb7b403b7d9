"""Layers in the syntax of the command line."""

from __future__ import annotations

import argparse


def parse_layers(text: str) -> list[int] | range:
    """Parse `0:13` or `0:13:3` (Python ranges), `5` or `0,4,12`."""
    try:
        if ":" in text:
            return range(*(int(part) for part in text.split(":")))
        return [int(part) for part in text.split(",")]
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is none of 0:13, 0:13:3, 5 or 0,4,12") from None
