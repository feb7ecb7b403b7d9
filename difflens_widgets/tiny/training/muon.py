"""Muon: momentum whose matrices are made orthogonal before they are taken as a step (Jordan et al. 2024).

Steps are as large as AdamW's at the same learning rate (Liu et al. 2025). torch's own Muon (from 2.9 on) takes no
convolutions and computes in bfloat16; a CPU that only imitates that took 17 s a step where this takes 0.3 s.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .cores import parts_of, run_parallel

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: singular values come near to 1 in five iterations
_ITERATIONS = 5
_SIZE_OF_ADAM = 0.2  # the root mean square of AdamW's usual step, in learning rates


class Muon(torch.optim.Optimizer):
    """For matrices and convolution kernels (a row for each output); biases, norms and outer layers are AdamW's."""

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; the matrices are shared out among the cores of a CPU."""
        for group in self.param_groups:
            learned = [parameter for parameter in group["params"] if parameter.grad is not None]
            learned.sort(key=lambda parameter: -parameter.numel() * min(parameter.flatten(1).shape))
            parts = parts_of(learned[0].device)
            run_parallel([partial(self._take, learned[part::parts], group) for part in range(parts)])

    @torch.no_grad()
    def _take(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            gradient = parameter.grad
            assert gradient is not None
            momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            momentum.lerp_(gradient, 1 - _MOMENTUM)
            matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)
            size = _SIZE_OF_ADAM * max(matrix.shape) ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(orthogonal(matrix).view_as(parameter), alpha=group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """The same singular vectors, all singular values between about 0.7 and 1.2 (Newton–Schulz).

    Only the small Gram matrix is iterated on, and the product of all its polynomials is applied once.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    gram, product = wide @ wide.T, None
    for _ in range(_ITERATIONS):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
        gram = polynomial @ gram @ polynomial
    assert product is not None
    wide = product @ wide
    return wide if len(matrix) <= matrix.shape[1] else wide.T
