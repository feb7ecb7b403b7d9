"""A short hash of a pipeline's weights, cheap enough to be taken for every run."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

_SAMPLES = 32  # per tensor, evenly spread: training moves all of them


@torch.inference_mode()
def weight_hash(pipe: Any) -> str:
    """16 hexadecimal digits that change when a weight of text encoder, denoiser or VAE changes.

    Every tensor's name and shape and `_SAMPLES` evenly spread values are hashed, not every value: reading a whole
    SD 1.5 would take longer than many runs.
    """
    digest = hashlib.sha256()
    for name, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        samples = []
        for key, tensor in module.state_dict().items():
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            if tensor.is_meta or tensor.numel() == 0:  # offloaded: the name and shape must do
                continue
            flat = tensor.reshape(-1)
            samples.append(flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].float())
        if samples:
            digest.update(torch.cat([sample.to(samples[0].device) for sample in samples]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
