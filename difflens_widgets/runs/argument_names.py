"""Errors name arguments: what they are called where somebody cannot see the call."""

from __future__ import annotations

import re
from collections.abc import Mapping


def with_names(message: str, names: Mapping[str, str]) -> str:
    """An error with other names of the arguments in front of it; what follows may quote a prompt, and stays.

    Parameters
    ----------
    message : str
        Such as "num_inference_steps: 0 must be at least 1" or "tokens, in the source: 'red' is not in the prompt".
    names : mapping of str → str
        The name of each argument that is called otherwise.
    """
    found = re.match(r"(\w+)(?:(, in the )(\w+))?(?=: )", message)
    if not found:
        return message
    name, joint, place = (part or "" for part in found.groups())
    return names.get(name, name) + joint + names.get(place, place) + message[found.end() :]
