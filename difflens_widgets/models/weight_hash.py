"""A short hash of a pipeline's weights, fast enough to compute for every run."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

_SAMPLES = 32  # values per tensor: training changes all of them


@torch.inference_mode()
def weight_hash(pipe: Any) -> str:
    """16 hexadecimal digits that change when the weights of a module of the pipeline are trained.

    Hashes the name and shape of every tensor, and at most `_SAMPLES` of its values: to read all values
    of SD 1.5 would take longer than many runs.
    """
    digest = hashlib.sha256()
    for name, module in sorted(pipe.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        samples = []
        for key, tensor in module.state_dict().items():
            digest.update(f"{name}.{key}{tuple(tensor.shape)}".encode())
            if tensor.is_meta or tensor.numel() == 0:  # offloaded: only its name and shape are hashed
                continue
            flat = tensor.reshape(-1)
            samples.append(flat[:: max(1, flat.numel() // _SAMPLES)][:_SAMPLES].float())
        if samples:
            digest.update(torch.cat([sample.to(samples[0].device) for sample in samples]).cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
