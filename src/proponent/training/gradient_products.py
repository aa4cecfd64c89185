"""Gradients of stacked weights that are not computed yet: products of two stacks of matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class Product:
    """Gradient of a stack of weights, for example of output gradients and inputs of a linear layer.

    An optimiser can add it to a moment by one matrix product, without a tensor for the gradient.

    Attributes:
        left: (models, rows, k) first factors.
        right: (models, k, columns) second factors.
        transposed: whether the gradient is the transposed product, (models, columns, rows).
    """

    left: Tensor
    right: Tensor
    transposed: bool

    def value(self) -> Tensor:
        """Return the gradient as a contiguous tensor."""
        return torch.bmm(self.right.mT, self.left.mT) if self.transposed else torch.bmm(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the gradient."""
        models, rows, columns = len(self.left), self.left.shape[1], self.right.shape[2]
        return (models, columns, rows) if self.transposed else (models, rows, columns)

    def __getitem__(self, rows: slice) -> Product:
        """Return the gradients of some models."""
        return replace(self, left=self.left[rows], right=self.right[rows])

    def add_to(self, moment: Tensor, factor: float) -> None:
        """Replace ``moment`` by ``factor * moment`` plus the gradient.

        Args:
            moment: tensor of the shape of the gradient, fastest if it has its memory order.
            factor: factor of the moment.
        """
        if not self.transposed:
            moment.baddbmm_(self.left, self.right, beta=factor)
        elif moment.is_contiguous():
            moment.baddbmm_(self.right.mT, self.left.mT, beta=factor)
        else:
            moment.mT.baddbmm_(self.left, self.right, beta=factor)


Gradient = Tensor | Product
"""Gradients of the models of a stack with respect to one parameter, (models, …)."""


def computed(gradient: Gradient) -> Tensor:
    """Return the gradient as a tensor."""
    return gradient.value() if isinstance(gradient, Product) else gradient


Stacked = TypeVar("Stacked", bound=Gradient)


def of_models(stack: Stacked, rows: slice) -> Stacked:
    """Return a range of models of a stack; all of them are the stack itself, without the microseconds of a view."""
    if rows.start == 0 and rows.stop == stack.shape[0]:
        return stack
    return cast(Stacked, stack[rows])
