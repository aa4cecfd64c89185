"""Dense curvature of a small model's mean loss in float64, by plain autograd, one derivative at a time.

``torch.func.hessian`` is not used: with torch 2.13 it disagrees with finite differences for a model with
LayerNorm.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


def flat_function(module: nn.Module) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """Return the outputs as a function of (flattened parameters, x), and the flattened parameters."""
    module.eval()
    named = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}

    def outputs(flat: Tensor, x: Tensor) -> Tensor:
        pieces = flat.split([value.numel() for value in named.values()])
        parameters = {n: piece.view_as(v) for (n, v), piece in zip(named.items(), pieces, strict=True)}
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(module, parameters, (x,))

    return outputs, torch.cat([value.flatten() for value in named.values()])


def dense_ggn(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return ``(1/n) sum_i J_iᵀ H_i J_i``, one example at a time, H_i by differentiating the loss twice."""
    outputs, flat = flat_function(module)
    total = torch.zeros(len(flat), len(flat), dtype=flat.dtype)
    for one, label in zip(x.split(1), y.split(1), strict=True):
        out = outputs(flat, one)
        rows = jacobian(lambda flat, one=one: outputs(flat, one).flatten(), flat)
        bend = hessian(lambda o, label=label, out=out: loss(o.view_as(out), label).sum(), out.flatten())
        total += rows.T @ bend @ rows
    return total / len(x)


def dense_hessian(
    module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Tensor:
    """Return the Hessian of the mean loss with respect to the flattened parameters."""
    outputs, flat = flat_function(module)
    return hessian(lambda flat: loss(outputs(flat, x), y).mean(), flat)
