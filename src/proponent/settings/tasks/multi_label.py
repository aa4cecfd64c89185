"""Several yes-or-no labels per example."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from proponent.errors import UserError
from proponent.settings.tasks.task import Task


class MultiLabel(Task):
    """Binary cross-entropy of L logits, (n, L), averaged over the labels of an example.

    ``y`` (n, L) holds 1 for a label that applies and 0 for one that does not. The target is the mean margin of the labels;
    the loss is not a function of it, so that the base is minus the loss.

    Args:
        ignore_index: value of y where it is not known whether the label applies; loss and target leave it out.
    """

    name = "multi-label"

    def __init__(self, *, ignore_index: int | None = None) -> None:
        self._ignored = ignore_index

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the labels of -log p."""
        return (softplus(-_margins(outputs, y)) * self._share(outputs, y)).sum(-1)

    def target(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the labels of the margin: the logit of a label that applies, minus that of another."""
        return (_margins(outputs, y) * self._share(outputs, y)).sum(-1)

    def output_hessian_root(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return diag(sqrt(p (1 - p) / L)), (n, L, L)."""
        root = (0.5 * (logsigmoid(outputs) + logsigmoid(-outputs))).exp()
        return torch.diag_embed(root * self._share(outputs, y).sqrt())

    def check(self, y: Tensor, where: str, n_classes: int | None = None) -> Tensor:
        """Return labels in int64, (n, L)."""
        if y.ndim != 2:
            raise UserError(
                f"{where}: y must hold 0 or 1 per label, (examples, labels), not {tuple(y.shape)}"
            )
        if n_classes not in (None, y.shape[1]):
            raise UserError(f"{where}: class_names has {n_classes} names, but y has {y.shape[1]} labels")
        whole = y.to(torch.int64)
        known = (whole == 0) | (whole == 1)
        if self._ignored is not None:
            known |= whole == self._ignored
        if not bool(((whole.to(y.dtype) == y) & known).all()):
            also = "" if self._ignored is None else f", or task.ignore_index ({self._ignored})"
            raise UserError(f"{where}: y of a multi-label task must hold 0 and 1 only{also}")
        empty = (whole == self._ignored).all(1).nonzero() if self._ignored is not None else whole[:0]
        if len(empty):
            raise UserError(
                f"{where}: row {int(empty[0])} has task.ignore_index ({self._ignored}) for every label; drop this example"
            )
        return whole.contiguous()

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Require one logit per label."""
        if outputs.shape[1:] != y.shape[1:]:
            raise UserError(
                f"{where}: a multi-label classifier must return one logit per label, (n, {y.shape[1]}), not "
                f"{tuple(outputs.shape)}"
            )

    def _share(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the weight of every label, (n, L), with sum 1 over those that are known."""
        counts = torch.ones_like(outputs) if self._ignored is None else (y != self._ignored).to(outputs.dtype)
        return counts / counts.sum(-1, keepdim=True)


def _margins(outputs: Tensor, y: Tensor) -> Tensor:
    return torch.where(y == 1, outputs, -outputs)
