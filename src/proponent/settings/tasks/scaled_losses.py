"""Losses times a factor per example: weights of classes, ignored labels, and weights in the data.

The loss of a batch stays the plain mean over its examples. The weighted mean of ``torch.nn.CrossEntropyLoss`` divides by the
sum of the weights in the batch, which would couple the examples of a batch.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks.task import DerivedTask, Draw, Task


class ScaledLoss(DerivedTask):
    """A task whose loss is multiplied by a factor per example; the target is not."""

    @abstractmethod
    def scales(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels for the inner task, and the factors (n,) in the type of the outputs."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the scaled loss."""
        labels, scales = self.scales(outputs, y)
        return scales * self.inner.loss(outputs, labels)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the target of the inner task."""
        return self.inner.target(outputs, self.scales(outputs, y)[0])

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the base of the inner task."""
        return self.inner.base(outputs, self.scales(outputs, y)[0])

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the scaled loss weight."""
        labels, scales = self.scales(outputs, y)
        return scales * self.inner.loss_weight(outputs, labels)

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the scaled loss curvature."""
        labels, scales = self.scales(outputs, y)
        return scales * self.inner.loss_curvature(outputs, labels)

    def precise_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the scaled precise loss."""
        labels, scales = self.scales(outputs, y)
        return scales * self.inner.precise_loss(outputs, labels)

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the scaled Hessian."""
        labels, scales = self.scales(outputs, y)
        return _along(scales, self.inner.output_hessian(outputs, labels))

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the root times the square root of the factors."""
        labels, scales = self.scales(outputs, y)
        return _along(scales.sqrt(), self.inner.output_hessian_root(outputs, labels))

    def combined_root(self, outputs: Tensor, y: Tensor, draw: Draw) -> Tensor:
        """Return the combinations times the square root of the factors."""
        labels, scales = self.scales(outputs, y)
        return _along(scales.sqrt(), self.inner.combined_root(outputs, labels, draw))

    def hessian_product(self, outputs: Tensor, y: Tensor, vectors: Tensor) -> Tensor:
        """Return the scaled product."""
        labels, scales = self.scales(outputs, y)
        return _along(scales, self.inner.hessian_product(outputs, labels, vectors))


class ClassWeights(ScaledLoss):
    """A loss times the weight of the example's class.

    Args:
        inner: task with one class per example.
        weights: weight of each class.
    """

    def __init__(self, inner: Task, weights: list[float]) -> None:
        super().__init__(inner)
        self._weights = torch.tensor(weights, dtype=torch.float64)

    def scales(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels, and the weights of their classes."""
        return y, self._weights.to(outputs)[y]

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return labels that have a weight."""
        labels = self.inner.check(y, where, n_classes)
        needed = max(n_classes or 0, int(labels.max()) + 1)
        if needed > len(self._weights):
            raise UserError(
                f"{where}: task.class_weights has {len(self._weights)} weights, but there are {needed} classes; give one "
                "weight per class"
            )
        return labels

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require as many logits as weights, except of a binary classifier."""
        self.inner.check_outputs(outputs, y, where)
        classes = 2 if self.inner.name == "binary" else outputs.shape[-1]
        if classes != len(self._weights):
            raise UserError(
                f"{where}: task.class_weights has {len(self._weights)} weights, but the model has {classes} classes; give "
                "one weight per class"
            )


class IgnoredLabel(ScaledLoss):
    """A loss that is 0 for the training examples with a certain label.

    Args:
        inner: task with one class per example.
        ignored: label of these examples.
    """

    def __init__(self, inner: Task, ignored: int) -> None:
        super().__init__(inner)
        self._ignored = ignored

    def scales(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels in which 0 stands for an ignored one, and 0 for ignored and 1 for other examples."""
        counted = y != self._ignored
        return torch.where(counted, y, 0), counted.to(outputs.dtype)

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return labels, of which not all are ignored."""
        counted = y != self._ignored
        if not bool(counted.any()):
            raise UserError(
                f"{where}: all labels are task.ignore_index ({self._ignored}); nothing is trained on"
            )
        labels = self.inner.check(torch.where(counted, y, 0), where, n_classes)
        return torch.where(counted, labels, self._ignored)

    def check_queries(self, y: Tensor, where: str) -> None:
        """Refuse an ignored label."""
        ignored = (y == self._ignored).nonzero()
        if len(ignored):
            raise UserError(
                f"{where}: row {int(ignored[0])} has the label task.ignore_index ({self._ignored}), and so no target; drop "
                "this query"
            )

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Refuse what the inner task refuses."""
        self.inner.check_outputs(outputs, y[y != self._ignored], where)


def with_options(task: Task, class_weights: list[float] | None, ignore_index: int | None) -> Task:
    """Return a task with weights of classes and an ignored label, where these are given."""
    if class_weights is not None:
        task = ClassWeights(task, class_weights)
    return task if ignore_index is None else IgnoredLabel(task, ignore_index)


def _along(scales: Tensor, values: Tensor) -> Tensor:
    return scales.reshape(-1, *[1] * (values.ndim - 1)) * values
