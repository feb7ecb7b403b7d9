"""The ``difflens`` command, and what it runs: the tutorials and the benches."""

from .commands import main

__all__ = ["main"]
