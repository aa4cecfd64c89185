"""Regression on one or several numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks.task import Task, identity_root

RANGES = {"delta": "(0, inf)"}


class Regression(Task):
    """Half the squared error, summed over the components of y; f is minus the loss. Outputs are (n, C) or (n,)."""

    name = "regression"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return ||outputs - y||^2 / 2."""
        residual = outputs - y.reshape(outputs.shape)
        return 0.5 * residual.square().flatten(1).sum(1) if residual.ndim > 1 else 0.5 * residual.square()

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the loss."""
        return -self.loss(outputs, y)

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the identity."""
        return identity_root(outputs)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the identity."""
        return identity_root(outputs)

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return real numbers in a floating point type."""
        if n_classes is not None:
            raise UserError(
                f"{where}: regression has no classes; leave class_names out, or choose 'task: classification'"
            )
        if y.is_complex():
            raise UserError(f"{where}: y must be real numbers, not {y.dtype}")
        return (y if y.is_floating_point() else y.to(torch.float32)).contiguous()

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require as many outputs as components of y."""
        if outputs.ndim == 0 or math.prod(outputs.shape[1:]) != math.prod(y.shape[1:]):
            raise UserError(
                f"{where}: the model returns outputs of shape {tuple(outputs.shape[1:])} per example and y has "
                f"{tuple(y.shape[1:])}; both must hold the same number of elements"
            )


class Huber(Regression):
    """Half the squared error up to ``delta``, linear beyond, summed over the components of y; f is minus the loss.

    Args:
        delta: absolute error from which the loss of a component is linear, as in ``torch.nn.HuberLoss``.
    """

    name = "huber"

    def __init__(self, *, delta: float = 1.0) -> None:
        self._delta = delta

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the losses of the components."""
        residual = outputs - y.reshape(outputs.shape)
        near = residual.clamp(-self._delta, self._delta)
        losses = near * (residual - near / 2)  # torch's huber_loss has no second derivative in forward mode
        return losses.flatten(1).sum(1) if losses.ndim > 1 else losses

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the identity, with 0 for the components whose loss is linear."""
        return self.output_hessian_root(outputs, y)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the Hessian, which is its own root."""
        residual = outputs - y.reshape(outputs.shape)
        return torch.diag_embed((residual.abs() <= self._delta).to(outputs.dtype).reshape(len(outputs), -1))
