"""Losses, margins and checks of labels that are numbers of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError


def margin(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the label's logit minus the logsumexp of the others along the last axis."""
    label = y.unsqueeze(-1)
    others = outputs.scatter(-1, label, -torch.inf)
    return outputs.gather(-1, label).squeeze(-1) - others.logsumexp(-1)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Return -log p of the labels; under ``vmap`` torch's own function is decomposed in Python."""
    return -outputs.log_softmax(-1).gather(-1, y.unsqueeze(-1)).squeeze(-1)


def softmax_hessian(outputs: Tensor) -> Tensor:
    """Return diag(p) - p p^T, the Hessian of a cross-entropy, which does not depend on the label."""
    p = outputs.softmax(-1)
    return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)


def softmax_root(outputs: Tensor) -> Tensor:
    """Return diag(sqrt p) (I - 1 p^T), a root of :func:`softmax_hessian`."""
    p = outputs.softmax(-1)
    identity = torch.eye(p.shape[-1], dtype=p.dtype, device=p.device)
    return p.sqrt().unsqueeze(-1) * (identity - p.unsqueeze(-2))


def softmax_combinations(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return W R for the root R of :func:`softmax_root`, without R: w sqrt(p) - (w . sqrt p) p for each row w of W.

    Args:
        outputs: (n, …, C) logits.
        weights: (n, positions, S, C) weights W, with the positions between the first and the last axis as one axis.
    """
    p = outputs.softmax(-1).reshape(len(outputs), -1, 1, outputs.shape[-1])
    scaled = weights * p.sqrt()
    return scaled.addcmul_(scaled.sum(-1, keepdim=True), p, value=-1)


def class_labels(y: Tensor, where: str, n_classes: int | None, ignored: int | None = None) -> Tensor:
    """Return labels in int64.

    Args:
        y: labels in any shape.
        where: beginning of messages.
        n_classes: number of classes; None if it is not known.
        ignored: label that is not a class.

    Raises:
        UserError: the labels are not integers, or out of range.
    """
    if y.is_floating_point() or y.is_complex():
        raise UserError(
            f"{where}: labels must be integers, not {y.dtype}; convert them, or choose 'task: regression'"
        )
    labels = y.to(torch.int64)
    counted = labels[labels != ignored] if ignored is not None else labels
    if len(counted) and int(counted.min()) < 0:
        raise UserError(f"{where}: label {int(counted.min())} is negative; number the classes from 0")
    if n_classes is not None:
        labels_fit(counted, n_classes, where)
    return labels.contiguous()


def labels_fit(y: Tensor, n_classes: int, where: str) -> None:
    """Raise a UserError if a label is not below the number of classes."""
    if y.numel() and int(y.max()) >= n_classes:
        raise UserError(
            f"{where}: label {int(y.max())} is out of range for {n_classes} classes; "
            f"labels run from 0 to {n_classes - 1}"
        )


def one_per_example(y: Tensor, where: str) -> None:
    """Raise a UserError unless there is one label per example."""
    if y.ndim != 1:
        raise UserError(
            f"{where}: labels must be one integer per example, not rows of shape {tuple(y.shape[1:])}; return y[:, 0] for "
            "a single column, and y.argmax(1) for one-hot rows"
        )
