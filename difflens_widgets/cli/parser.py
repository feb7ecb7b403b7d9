"""The parser of the commands: it says what was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """Refuses what it does not know with a hint: a misspelt option, a prompt without quotes.

    Attributes
    ----------
    passes_on : bool
        What it does not know is for somebody else.
    """

    passes_on = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse.ArgumentParser.parse_known_args`; exits where the command does not pass the rest on."""
        found, others = super().parse_known_args(args, namespace)
        if others and not self.passes_on:
            self.error(f"unrecognized arguments: {' '.join(others)}{self._hint(others)}")
        return found, others

    def _hint(self, others: Sequence[str]) -> str:
        if not others[0].startswith("-") and re.search(r"(?<![-\w])prompt\b", self.format_usage()):
            return '; put the prompt into quotes, as in "a pink cat"'
        known = re.findall(r"--[a-z-]+", self.format_help())
        meant = [match for each in others for match in get_close_matches(each.partition("=")[0], known, 1)]
        return f"; did you mean {' and '.join(dict.fromkeys(meant))}?" if meant else ""
