"""LoRA layers whose strength can be set without another thread seeing it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def with_own_strengths(module: nn.Module) -> nn.Module:
    """A copy of the module tree with the same weights, whose LoRA layers have strengths of their own.

    diffusers sets a strength by scaling the layers of the shared module, and back afterwards: a picture that another
    thread paints meanwhile would be scaled too.

    Returns
    -------
    nn.Module
        The module itself if it has no LoRA layers, or if accelerate's hooks or `torch.compile` bind its `forward` to
        the original.
    """
    parts = list(module.modules())
    bound = any("forward" in vars(part) or "_orig_mod" in part._modules for part in parts)
    if bound or not any(isinstance(vars(part).get("scaling"), dict) for part in parts):
        return module
    return copied_tree(module)


def copied_tree(module: nn.Module) -> Any:
    """A copy of a module tree with the same weights: what is set, or registered, on its parts stays there."""
    return _copied(module, {})


def _copied(module: nn.Module, made: dict[int, Any]) -> Any:
    if id(module) in made:
        return made[id(module)]
    twin = made[id(module)] = module.__class__.__new__(module.__class__)
    vars(twin).update(vars(module))
    own = vars(twin)
    own["_modules"] = {name: None if child is None else _copied(child, made) for name, child in module._modules.items()}
    for name, value in vars(module).items():
        if "_hooks" in name and isinstance(value, dict):  # what is registered on the copy stays there
            own[name] = copy.copy(value)
        elif isinstance(value, nn.Module):  # kept beside the tree
            own[name] = _copied(value, made)
    if isinstance(own.get("scaling"), dict):
        own["scaling"] = copy.copy(own["scaling"])
    return twin
