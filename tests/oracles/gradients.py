"""Dense per-example gradients by plain autograd, one example at a time, and by ``torch.func.vmap(grad)``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from oracles.dense_model import outputs_of


def gradients_by_vmap(
    module: nn.Module, function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Tensor:
    """Return the gradient of ``function(outputs, y)`` of each example, (n, number of parameters)."""
    module.eval()
    parameters = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}

    def value(parameters: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        return function(functional_call(module, parameters, (one[None],)), label[None])[0]

    with sdpa_kernel(SDPBackend.MATH):
        found = vmap(grad(value), in_dims=(None, 0, 0))(parameters, x, y)
    return torch.cat([gradient.reshape(len(x), -1) for gradient in found.values()], 1)


def gradients_by_loop(
    module: nn.Module, function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Tensor:
    """Return the same gradients from one backward pass per example, without torch.func."""
    module.eval()
    parameters = [value for value in module.parameters() if value.requires_grad]
    rows = []
    for one, label in zip(x, y, strict=True):
        value = function(outputs_of(module, one[None]), label[None])[0]
        found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([gradient.to_dense().flatten() for gradient in found]))
    return torch.stack(rows)
