"""Reads untrusted JSON field by field: a value of another type or range than expected is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MAX_DEPTH = 16


def parse(data: bytes, source: str) -> Fields:
    """Read a JSON object; `source` is its name in errors.

    Raises
    ------
    ValueError
        If it is not JSON in UTF-8, or is not an object.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(f"{source} is nested too deep") from error
    except ValueError as error:
        raise ValueError(f"{source} is not valid JSON: {error}") from error
    return Fields.of(value, source)


def check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Check that JSON can hold a value unchanged: str, int, finite float, bool, None, dict with str keys, list.

    Raises
    ------
    ValueError
        The message names the field, such as ``settings['size'][0]``.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"{where[:80]} is nested too deep, at most {_MAX_DEPTH} levels are kept")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, only finite numbers are kept")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{where} has the key {key!r}, keys must be text")
            check_plain(item, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]", depth + 1)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise ValueError(f"{where} is a {type(value).__name__}, only text, numbers, lists and dicts are kept")


class Fields:
    """One JSON object, and its path for error messages."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self._where = values, where

    @classmethod
    def of(cls, value: Any, where: str) -> Fields:
        """Check that a value is an object."""
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {_brief(value)}, an object was expected")
        return cls(value, where)

    @property
    def names(self) -> list[str]:
        """The names of all values."""
        return list(self.values)

    def get(self, name: str) -> Any:
        """The value without a check; None if it is missing."""
        return self.values.get(name)

    def text(self, name: str) -> str:
        """A string."""
        value = self.get(name)
        return value if isinstance(value, str) else self._refuse(name, "text")

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.get(name)
        return value if isinstance(value, bool) else self._refuse(name, "true or false")

    def choice(self, name: str, options: Sequence[str]) -> str:
        """One of the strings in `options`."""
        value = self.get(name)
        return value if isinstance(value, str) and value in options else self._refuse(name, f"one of {list(options)}")

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer from `low` to `high`."""
        value = self.get(name)
        return value if _is_integer(value, low, high) else self._refuse(name, f"a whole number from {low} to {high}")

    def integers(self, name: str, low: int, high: int, at_most: int) -> list[int]:
        """A list of at most `at_most` integers, each from `low` to `high`."""
        value = self._list(name, at_most)
        if not all(_is_integer(item, low, high) for item in value):
            self._refuse(name, f"a list of whole numbers from {low} to {high}")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """An object with any content."""
        value = self.get(name)
        return value if isinstance(value, dict) else self._refuse(name, "an object")

    def child(self, name: str) -> Fields:
        """An object, as `Fields`."""
        return Fields.of(self.get(name), f"{self._where}: {name!r}")

    def items(self, name: str, at_most: int) -> Iterable[Fields]:
        """A list of at most `at_most` objects."""
        for index, item in enumerate(self._list(name, at_most)):
            yield Fields.of(item, f"{self._where}: {name!r} number {index}")

    def _list(self, name: str, at_most: int) -> list[Any]:
        value = self.get(name)
        if not isinstance(value, list) or len(value) > at_most:
            self._refuse(name, f"a list of at most {at_most}")
        return value

    def _refuse(self, name: str, expected: str) -> Any:
        found = _brief(self.get(name)) if name in self.values else "missing"
        raise ValueError(f"{self._where}: {name!r} is {found}, expected {expected}")


def _is_integer(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _brief(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
