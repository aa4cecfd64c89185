"""Interface of a task to the engines, and tasks that are derived from others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import grad, jvp

Draw: TypeAlias = Callable[[int, int], Tensor]
"""Function that gives weights for a number of positions and a number of outputs; see :meth:`Task.combined_root`."""


class Task(ABC):
    """Loss and target as functions of the outputs of the model.

    The *base* is the quantity whose gradients stand for those of the loss: the gradient of an example's loss is
    ``-loss_weight * gradient of its base``. Where the loss is a function of the target, the base is the target, so that
    examples that are predicted with certainty keep their digits; otherwise it is minus the loss, with weight 1. The
    target itself is what is attributed for a query.
    """

    name: str

    @abstractmethod
    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of every example, (n,)."""

    @abstractmethod
    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target f of every example, (n,); higher means a better prediction."""

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the base of every example, (n,)."""
        return -self.loss(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return minus the derivative of the loss with respect to the base, (n,)."""
        return outputs.new_ones(len(outputs))

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the second derivative of the loss with respect to the base, (n,)."""
        return outputs.new_zeros(len(outputs))

    def precise_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss, (n,), in a form whose derivative keeps its digits for labels predicted with certainty."""
        return self.loss(outputs, y)

    @abstractmethod
    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return R with ``R^T R`` = :meth:`output_hessian`, (n, …, C, C) for outputs (n, …, C).

        Positions between the first and the last axis (the tokens of a language model) do not interact: one block each.
        Where they do, R is (n, C, C) for C elements of the flattened outputs.
        """

    def combined_root(self, outputs: Tensor, y: Tensor, draw: Draw) -> Tensor:
        """Return combinations W R of the rows of each block R of :meth:`output_hessian_root`, (n, positions, S, C).

        Args:
            outputs: (n, …) outputs.
            y: (n, …) labels.
            draw: function that gives W, (n, positions, S, C), for the numbers of positions and of outputs of a block.
        """
        root = self.output_hessian_root(outputs, y)
        root = root.reshape(len(root), -1, *root.shape[-2:])
        return draw(root.shape[1], root.shape[2]) @ root

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the Hessian of the loss with respect to the outputs, in the blocks of :meth:`output_hessian_root`."""
        root = self.output_hessian_root(outputs, y)
        return root.mT @ root

    def hessian_product(self, outputs: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
        """Return the output Hessian of each example times a vector (n, …, C), in the shape of the outputs."""

        def slope(point: Tensor) -> Tensor:
            return grad(lambda some: self.loss(some, y).sum())(point)

        product: Tensor = jvp(slope, (outputs,), (vectors,))[1]
        return product

    @abstractmethod
    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return ``y`` in the type that the task needs; raise a UserError if ``y`` cannot be used."""

    def check_queries(self, y: Tensor, where: str) -> None:
        """Raise a UserError if a query with one of these labels has no target; most tasks have one for every label."""
        return

    @abstractmethod
    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Raise a UserError unless a model with these outputs (of a few examples) can be trained on ``y``."""


class DerivedTask(Task):
    """A task that changes some functions of another one.

    Args:
        inner: task that answers everything else.
    """

    def __init__(self, inner: Task) -> None:
        self.inner = inner
        self.name = inner.name

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of the inner task."""
        return self.inner.loss(outputs, y)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target of the inner task."""
        return self.inner.target(outputs, y)

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the base of the inner task."""
        return self.inner.base(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss weight of the inner task."""
        return self.inner.loss_weight(outputs, y)

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss curvature of the inner task."""
        return self.inner.loss_curvature(outputs, y)

    def precise_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the precise loss of the inner task."""
        return self.inner.precise_loss(outputs, y)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the root of the inner task."""
        return self.inner.output_hessian_root(outputs, y)

    def combined_root(self, outputs: Tensor, y: Tensor, draw: Draw) -> Tensor:
        """Return the combinations of the inner task."""
        return self.inner.combined_root(outputs, y, draw)

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the Hessian of the inner task."""
        return self.inner.output_hessian(outputs, y)

    def hessian_product(self, outputs: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
        """Return the product of the inner task."""
        return self.inner.hessian_product(outputs, y, vectors)

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return labels that the inner task accepts."""
        return self.inner.check(y, where, n_classes)

    def check_queries(self, y: Tensor, where: str) -> None:
        """Refuse what the inner task refuses."""
        self.inner.check_queries(y, where)

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Refuse what the inner task refuses."""
        self.inner.check_outputs(outputs, y, where)


def identity_root(outputs: Tensor) -> Tensor:
    """Return the identity for each example, (n, C, C), for C elements of the outputs."""
    size = outputs[0].numel()
    return torch.eye(size, dtype=outputs.dtype, device=outputs.device).expand(len(outputs), size, size)
