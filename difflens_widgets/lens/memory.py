"""Memory: an estimate of what a run takes, whether an error means that it ran out, and freeing what a call held."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # accelerate requires it
import torch
from accelerate.utils.memory import clear_device_cache

_DENOISER_TENSORS = 28
"""The peak of a U-Net's forward, in tensors of its first block's size: 26 for SD 1.5, 16 for SDXL."""
_DECODER_TENSORS = 5
"""The peak of an autoencoder's decoder, in tensors of full height and width with its second block's channels.

3 for SD 1.5 and SDXL, and as much for a convolution's workspace as it has been seen to take; 5 for the embedded model.
"""
_SHARE = 0.9  # of the device's memory; the rest is the device's own, and fragmentation
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container

_WORDS = (
    "out of memory",  # CUDA, ROCm, XPU, "MPS backend out of memory"
    "can't allocate memory",  # torch's CPU allocator, Linux and macOS
    "not enough memory",  # torch's CPU allocator, Windows
    "invalid buffer size",  # MPS, for one tensor that is larger than a buffer can be
    "bad_alloc",  # C++
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, means that memory ran out."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        words = str(error).lower()  # on CPU and MPS, torch raises a plain RuntimeError
        if isinstance(error, RuntimeError) and any(each in words for each in _WORDS):
            return True
        error = error.__cause__
    return False


def free_memory() -> None:
    """Free what a failed call held; call it after the handler of its error, whose traceback still holds tensors."""
    gc.collect()
    clear_device_cache()


def denoiser_of(pipe: Any) -> torch.nn.Module:
    """The U-Net or the transformer of a pipeline."""
    denoiser: torch.nn.Module | None = getattr(pipe, "unet", None)
    return pipe.transformer if denoiser is None else denoiser


def estimate_memory(pipe: Any, rows: int, height: int, width: int, *, guided: bool = True) -> int:
    """Estimate the bytes that a run takes at its peak, beside the weights.

    The larger of two: the denoiser's forward, and the decoding of all rows of a call at once (of one row, if the
    autoencoder slices). Both grow with the rows and the pixels. Attention is counted as a fused kernel, which keeps no
    scores.

    Parameters
    ----------
    pipe : a diffusers pipeline
    rows : int
        Images in one call.
    height, width : int
        In pixels.
    guided : bool
        With guidance the denoiser gets twice the rows.
    """
    denoiser: Any = denoiser_of(pipe)
    vae = getattr(pipe, "vae", None)
    pixels = height * width
    channels = getattr(denoiser.config, "block_out_channels", None) or (_width_of(denoiser),)
    item = next(denoiser.parameters()).element_size()
    latent = pixels // getattr(pipe, "vae_scale_factor", 1) ** 2
    forward = (1 + guided) * latent * channels[0] * item * _DENOISER_TENSORS
    if vae is None:  # a model of pixels
        return rows * forward
    decoder = getattr(vae.config, "block_out_channels", None) or (128, 256)
    upcast = getattr(vae.config, "force_upcast", False) and vae.dtype == torch.float16
    item = 4 if upcast else next(vae.parameters()).element_size()
    decoded = pixels * decoder[min(1, len(decoder) - 1)] * item * _DECODER_TENSORS
    return max(rows * forward, decoded if getattr(vae, "use_slicing", False) else rows * decoded)


def memory_for_activations(pipe: Any, device: torch.device) -> int | None:
    """The bytes of the device that are there beside the weights of the pipeline; None: not known.

    All memory of the device counts, not what is free just now: the same run shall have the same batch size later.
    """
    total = _total_memory(device)
    if total is None:
        return None
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    weights = [sum(each.numel() * each.element_size() for each in part.parameters()) for part in modules]
    offloaded = pipe.device.type != device.type  # then one module at a time is on the device
    return max(0, int(total * _SHARE) - (max(weights) if offloaded else sum(weights)))


def _total_memory(device: torch.device) -> int | None:
    if device.type == "cpu":
        limits = [psutil.virtual_memory().total]
        for path in _GROUP_LIMITS:
            try:
                limits.append(int(Path(path).read_text()))
            except (OSError, ValueError):  # no container, or "max"
                continue
        return min(limits)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    backend = getattr(torch, device.type, None)
    read = getattr(backend, "get_device_properties", None)
    return getattr(read(device), "total_memory", None) if read else None


def _width_of(transformer: Any) -> int:
    config = transformer.config
    return int(getattr(config, "num_attention_heads", 24)) * int(getattr(config, "attention_head_dim", 64))
