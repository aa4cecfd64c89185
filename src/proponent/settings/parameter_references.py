"""Refusal of models that reach their parameters through other references than their attributes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from proponent.errors import UserError


def refuse_hidden_references(module: nn.Module, x: Tensor) -> None:
    """Refuse a model that keeps a parameter in a list, a closure or a bound function and uses it from there.

    The engines replace the attributes of a model, so that such a parameter would stay as it was at the start.

    Args:
        module: model, in the mode in which it is used.
        x: (1, ...) input.

    Raises:
        UserError: gradients reach a parameter in an ordinary pass, but not with the model's attributes replaced.
    """
    own = {name: value for name, value in module.named_parameters() if value.requires_grad}
    leaves = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
    with torch.enable_grad():
        ordinary = _reached(module(x.clone()), own)
        replaced = _reached(functional_call(module, leaves, (x.clone(),)), leaves)
    hidden = [name for name in own if name in ordinary and name not in replaced]
    if hidden:
        raise UserError(
            f"the model's forward pass uses its parameter '{hidden[0]}' through a reference of its own (a list, a closure, a "
            "bound function); use the attribute of the module that has it"
        )


def _reached(outputs: object, tensors: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that outputs depend on."""
    if not isinstance(outputs, Tensor) or not outputs.requires_grad:
        return set()
    found = torch.autograd.grad(outputs.sum(), list(tensors.values()), allow_unused=True)
    return {name for name, slope in zip(tensors, found, strict=True) if slope is not None}
