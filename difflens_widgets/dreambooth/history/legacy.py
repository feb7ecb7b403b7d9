"""Files of a training history that version 1 of the format wrote, in the words of version 2; nothing is checked here.

Version 1 has "probes" for validation prompts, "probe" for the index of one, and "noise" for its seed offset, and it
names the lens files ``probe_00.lens``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgrade_training(content: Mapping[str, Any]) -> dict[str, Any]:
    """A training.json of version 1 as version 2 would have written it."""
    new = _renamed(content, {"probes": "validation_prompts"})
    prompts = new.get("validation_prompts")
    if isinstance(prompts, list):
        new["validation_prompts"] = [_renamed(prompt, {"noise": "seed_offset"}) for prompt in prompts]
    return new


def upgrade_alarm(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of an alarms.json of version 1; one of version 2 stays as it is."""
    return _renamed(alarm, {"probe": "validation_prompt"})


def _renamed(item: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(item, Mapping):
        return item
    return {names.get(name, name): value for name, value in item.items()}
