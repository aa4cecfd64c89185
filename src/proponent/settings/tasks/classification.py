"""Classification with one logit per class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from proponent.errors import UserError
from proponent.settings.tasks.class_labels import (
    class_labels,
    cross_entropy,
    labels_fit,
    margin,
    one_per_example,
    softmax_combinations,
    softmax_hessian,
    softmax_root,
)
from proponent.settings.tasks.scaled_losses import with_options
from proponent.settings.tasks.task import Draw, Task

RANGES = {"class_weights": "[0, inf)", "label_smoothing": "[0, 1)"}


class Classification(Task):
    """Cross-entropy; the target is the margin of the label, log(p / (1 - p)). Outputs are logits, (n, C)."""

    name = "classification"

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return -log p of the label."""
        return cross_entropy(outputs, y)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the label's logit minus the logsumexp of the others (TRAK, Park et al. 2023, sec. 3.3)."""
        return margin(outputs, y)

    def base(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the margin."""
        return margin(outputs, y)

    def loss_weight(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return 1 - p of the label without cancellation: the loss is softplus(-f), minus its derivative sigmoid(-f)."""
        return torch.sigmoid(-margin(outputs, y))

    def loss_curvature(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return p (1 - p)."""
        wrong = self.loss_weight(outputs, y)
        return wrong * (1 - wrong)

    def precise_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return softplus(-f): the derivative of the cross-entropy, p - 1, loses its digits near p = 1."""
        return softplus(-margin(outputs, y))

    def output_hessian(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(p) - p p^T, which does not depend on the label."""
        return softmax_hessian(outputs)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(sqrt p) (I - 1 p^T)."""
        return softmax_root(outputs)

    def combined_root(self, outputs: Tensor, y: Tensor, draw: Draw) -> Tensor:
        """Return combinations of the rows of the root, which is not written out."""
        return softmax_combinations(outputs, draw(1, outputs.shape[-1]))

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return integer labels in int64, one per example."""
        one_per_example(y, where)
        return class_labels(y, where, n_classes)

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require logits (n, C) with C above the largest label."""
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            one = outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)
            hint = "; choose 'task: binary' for a model with one logit" if one else ""
            raise UserError(
                f"{where}: a classifier must return logits (n, classes) for two classes or more, not "
                f"{tuple(outputs.shape)}{hint}"
            )
        labels_fit(y, outputs.shape[-1], where)


class SmoothedClassification(Classification):
    """Cross-entropy against ``(1 - smoothing) onehot(y) + smoothing / C``, as in ``torch.nn.CrossEntropyLoss``.

    The loss is not a function of the margin, so that the base is minus the loss.

    Args:
        smoothing: share of the label distribution that is spread over all classes.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of the smoothed labels."""
        logs = outputs.log_softmax(-1)
        own = logs.gather(-1, y.unsqueeze(-1)).squeeze(-1)
        return -(1 - self._smoothing) * own - self._smoothing * logs.mean(-1)

    # The loss is not a function of the target, so the base is minus the loss.
    base = Task.base
    loss_weight = Task.loss_weight
    loss_curvature = Task.loss_curvature
    precise_loss = Task.precise_loss


def classification(
    *,
    class_weights: list[float] | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Task:
    """Return classification with one logit per class.

    Args:
        class_weights: factor of the loss of an example, by its label.
        label_smoothing: share of the label distribution that is spread over all classes.
        ignore_index: label of training examples that have no loss.
    """
    task = SmoothedClassification(label_smoothing) if label_smoothing else Classification()
    return with_options(task, class_weights, ignore_index)
