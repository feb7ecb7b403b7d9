"""The parser of the commands: it says what was probably meant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, NoReturn

_QUOTES = '; put the prompt into quotes, as in "a pink cat"'


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
            given = sys.argv[1:] if args is None else args
            follows = (getattr(found, "prompt", None), others[0]) in pairwise(given)
            unquoted = follows and not others[0].startswith("-")
            self.refuse(others, _QUOTES if unquoted else "")
        return found, others

    def error(self, message: str) -> NoReturn:
        """Exit with the usage and a message, to which what is probably meant is added."""
        super().error(message + self._meant(message))

    def _meant(self, message: str) -> str:
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            given, known = found[1], re.findall(r"[\w-]+", found[2])
            if " " in given and "lens" in known:
                return f'; did you mean {self.prog} lens "{given}"?'
            meant = get_close_matches(given, known, 1)
            return f"; did you mean {meant[0]}?" if meant else ""
        several = re.search(r"--\w+: invalid float value: '.* .*'", message)
        return "; put the prompt before this option" if several else ""

    def refuse(self, others: Sequence[str], hint: str = "") -> NoReturn:
        """Exit because of arguments that are not known; without a `hint`, name the options that may be meant."""
        known = re.findall(r"--[a-z-]+", self.format_help())
        meant = [match for each in others for match in get_close_matches(each.partition("=")[0], known, 1)]
        options = f"; did you mean {' and '.join(dict.fromkeys(meant))}?" if meant else ""
        self.error(f"unrecognized arguments: {' '.join(others)}{hint or options}")
