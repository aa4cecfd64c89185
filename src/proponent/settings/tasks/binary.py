"""Binary classification with one logit."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from proponent.errors import UserError
from proponent.settings.tasks.class_labels import class_labels, labels_fit, one_per_example
from proponent.settings.tasks.scaled_losses import with_options
from proponent.settings.tasks.task import Task

RANGES = {"class_weights": "[0, inf)", "label_smoothing": "[0, 1)"}


class Binary(Task):
    """Cross-entropy of one logit z, (n,) or (n, 1), for label 1 against label 0.

    It is classification with the logits (0, z), so that every score is the same. The target is the margin: z for label 1,
    -z for label 0.
    """

    name = "binary"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return -log p of the label."""
        return softplus(-self.target(outputs, y))

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return z for label 1 and -z for label 0."""
        return (2 * y - 1) * outputs.reshape(len(outputs))

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the margin."""
        return self.target(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return 1 - p of the label."""
        return torch.sigmoid(-self.target(outputs, y))

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return p (1 - p)."""
        wrong = self.loss_weight(outputs, y)
        return wrong * (1 - wrong)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return sqrt(p (1 - p)), (n, 1, 1)."""
        z = outputs.reshape(len(outputs), 1, 1)
        return (0.5 * (logsigmoid(z) + logsigmoid(-z))).exp()

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return labels 0 and 1 in int64, (n,); y may hold them as numbers of any type, also as (n, 1)."""
        flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        one_per_example(flat, where)
        if n_classes not in (None, 2):
            raise UserError(f"{where}: class_names has {n_classes} names, but a binary task has two classes")
        whole = flat.to(torch.int64)
        if not bool((whole.to(flat.dtype) == flat).all()):
            raise UserError(f"{where}: labels of a binary task must be 0 or 1; y holds other numbers")
        return class_labels(whole, where, 2)

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require one logit per example."""
        if outputs.ndim not in (1, 2) or outputs[0].numel() != 1:
            raise UserError(
                f"{where}: a binary classifier must return one logit per example, (n,) or (n, 1), not "
                f"{tuple(outputs.shape)}; choose 'task: classification' for one logit per class"
            )
        labels_fit(y, 2, where)


class SmoothedBinary(Binary):
    """Binary classification against the labels ``(1 - smoothing) y + smoothing / 2``.

    Args:
        smoothing: share of the label distribution that is spread over both classes.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of the smoothed labels."""
        f = self.target(outputs, y)
        return (1 - self._smoothing / 2) * softplus(-f) + self._smoothing / 2 * softplus(f)

    # The loss is not a function of the target, so the base is minus the loss.
    base = Task.base
    loss_weight = Task.loss_weight
    loss_curvature = Task.loss_curvature


def binary(
    *,
    class_weights: list[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Task:
    """Return binary classification with one logit; arguments as those of classification."""
    task = SmoothedBinary(label_smoothing) if label_smoothing else Binary()
    return with_options(task, class_weights, ignore_index)
