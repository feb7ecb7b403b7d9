"""A hash of what a pipeline computes with, apart from its text: denoiser, decoder, scheduler, device and versions."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import torch
from torch import nn

from .._version import __version__
from .content_hash import ContentHash, NotHashable
from .known_modules import check
from .view import own_scheduler

_PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "numpy")

_OF_A_VIEW = "maybe_free_model_hooks"  # the one method that `PipelineView` replaces


def pipeline_hash(
    pipe: Any, scheduler: Any, num_inference_steps: int, device: torch.device, *, without: Iterable[str] = ()
) -> ContentHash:
    """Hash all parts of a pipeline, its own settings, its device and the versions of what computes.

    Parameters
    ----------
    pipe : the user's pipeline, or a view of it
    scheduler : the one that it runs with
    num_inference_steps : int
        The scheduler is hashed as it begins such a run: what is left of the run before has no effect.
    device : torch.device
        Where it computes.
    without : names of components to leave out
        Such as the text encoders, where the states that the denoiser gets are hashed instead.

    Raises
    ------
    NotHashable
        If it holds what the hash cannot read, such as hooks, or code that is in none of the known packages.
    """
    left_out = {*without, "scheduler"}
    found = ContentHash().add(_environment(device), type(pipe))
    parts = pipe.components
    for name in sorted(parts.keys() - left_out):
        add_part(found, name, parts[name])
    found.add(_at_the_start(scheduler, num_inference_steps))
    found.add({name: value for name, value in pipe.config.items() if name not in parts})
    for name, value in sorted(vars(pipe).items()):
        if callable(value) and name not in parts and name != _OF_A_VIEW:
            raise NotHashable(f"a method of your own: {name}")
        if not name.startswith("_") and name not in parts and name != _OF_A_VIEW:
            found.add(name, value)
    return found


def add_part(found: ContentHash, name: str, part: Any) -> None:
    """Add a component of a pipeline; a network that was added before is only checked."""
    found.add(name, check(part).digest if isinstance(part, nn.Module) else part)


def _environment(device: torch.device) -> dict[str, Any]:
    """What else decides the last bits of a result."""
    cuda = device.type == "cuda"
    cudnn = torch.backends.cudnn
    return {
        "difflens_widgets": __version__,
        **{name: _version_of(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if cuda else str(device.type),
        "kernels": cuda or torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "precision": torch.get_float32_matmul_precision(),
        "tf32": cudnn.allow_tf32,
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
    }


@functools.cache
def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _at_the_start(scheduler: Any, num_inference_steps: int) -> Any:
    own = own_scheduler(scheduler)
    try:
        own.set_timesteps(num_inference_steps)
    except (TypeError, ValueError, RuntimeError):  # it needs more than the number: hashed with what is left in it
        return scheduler
    return own
