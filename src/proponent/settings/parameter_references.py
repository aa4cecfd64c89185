"""Refusal of models that reach their parameters through other references than their attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from proponent.errors import UserError
from proponent.random_state import seeded
from proponent.rows import Rows, outputs_of
from proponent.settings.kept_buffers import buffers_kept
from proponent.settings.model_diagnosis import gradients_agree


def refuse_hidden_references(module: nn.Module, x: Rows) -> None:
    """Refuse a model that keeps a parameter in a list, a closure or a bound function and uses it from there.

    The engines replace the attributes of a model, so that such a use would keep the parameter of the start.

    Args:
        module: model, in the mode in which it is used. Models that are random have other refusals.
        x: (1, ...) input.

    Raises:
        UserError: a parameter has another gradient in an ordinary pass than with the model's attributes replaced, or
            the pass makes a parameter.
    """
    own = {name: value for name, value in module.named_parameters() if value.requires_grad}
    leaves = {name: value.detach().clone().requires_grad_() for name, value in own.items()}
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    with torch.enable_grad(), buffers_kept(module):
        ordinary = _gradients(_pass(lambda given: outputs_of(module, given), x), own)
        for name, _ in (*module.named_parameters(), *module.named_buffers()):
            if name not in names:
                raise UserError(
                    f"the model's forward pass makes the parameter or buffer '{name}', which cannot be trained; make it "
                    "in the model's constructor"
                )
        replaced = _gradients(_pass(lambda given: outputs_of(module, given, leaves), x), leaves)
        other = _first_difference(ordinary, replaced)
        if other is None or _first_difference(
            ordinary, _gradients(_pass(lambda given: outputs_of(module, given), x), own)
        ):
            return
    raise UserError(
        f"the model's forward pass uses its parameter '{other}' through a reference of its own (a list, a closure or a "
        "bound function); use the attribute of the module that has it"
    )


def _pass(run: Callable[[Rows], object], x: Rows) -> object:
    """Return the outputs of a pass in which a random layer draws the same numbers each time."""
    with seeded(0):
        return run(x.clone())


def _gradients(outputs: object, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of the sum of the outputs; of tensors on which they do not depend, there is none."""
    if not isinstance(outputs, Tensor) or not outputs.requires_grad:
        return {}
    found = torch.autograd.grad(outputs.sum(), list(tensors.values()), allow_unused=True)
    return {name: slope.to_dense() for name, slope in zip(tensors, found, strict=True) if slope is not None}


def _first_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Return the first parameter whose gradients differ; those that are not finite are equal here."""
    largest = max((float(slope.abs().max()) for slope in one.values() if slope.numel()), default=0.0)
    for name, slope in one.items():
        if name not in other:
            return name
        if slope.numel() and slope.isfinite().all() and not gradients_agree(other[name], slope, largest):
            return name
    return None
