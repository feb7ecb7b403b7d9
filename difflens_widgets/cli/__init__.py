"""The ``difflens`` command, with the tutorials and the benchmarks that it runs."""

from .commands import main

__all__ = ["main"]
