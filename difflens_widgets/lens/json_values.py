"""Values in types that JSON has, for the settings of a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

_DEPTH = 8


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it: a number that is not finite as text; of what JSON cannot hold, the name of its type."""
    if isinstance(value, (np.ndarray, np.generic, Tensor)):  # first: a float64 of numpy is a float, but cannot be saved
        return plain(value.tolist(), depth)
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)) and depth < _DEPTH:
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping) and depth < _DEPTH:
        return {str(name): plain(item, depth + 1) for name, item in value.items()}
    return type(value).__name__
