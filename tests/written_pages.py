"""Reads what a written page contains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def data_of(path: Path) -> dict[str, Any]:
    """What a page gives to its program."""
    found = re.search(r'id="difflens-data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def reduced(path: Path) -> str:
    """What the page says was reduced."""
    found = re.search(r'class="reduced">([^<]*)<', path.read_text("utf-8"))
    return found[1] if found else ""
