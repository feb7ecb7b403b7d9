"""What a diffusers folder states of its model in a JSON file of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_stated(pipe: Any, file: str, what: str, parse: Callable[[Any], T]) -> T | None:
    """Read a file in the folder that a pipeline was loaded from; None if there is none.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    file : str
        Its name.
    what : str
        What it states, for the message.
    parse : callable
        Takes the JSON value, and raises ValueError, TypeError or KeyError if that is not what was expected.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    path = Path(str(pipe.config.get("_name_or_path") or "")) / file
    if not path.is_file():
        return None
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: states no {what}: {error}") from None
