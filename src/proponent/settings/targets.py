"""Targets for ``target: {factory: "proponent.settings.targets:logit", args: {label: 3}}`` in a setting.

Each function takes outputs and labels of a batch and returns one number per example, (n,).
"""

from __future__ import annotations

import torch
from torch import Tensor

from proponent.errors import UserError
from proponent.settings.tasks.class_labels import cross_entropy, margin


def logit(outputs: Tensor, y: Tensor, *, label: int | None = None) -> Tensor:
    """Return the logit of one class.

    Args:
        outputs: logits, (n, C).
        y: labels, (n,).
        label: the class; None for that of each query.

    Examples:
        >>> outputs, y = torch.tensor([[0.0, 2.0], [1.0, 1.0]]), torch.tensor([1, 0])
        >>> logit(outputs, y)
        tensor([2., 1.])
        >>> logit(outputs, y, label=0)
        tensor([0., 1.])
    """
    if label is None:
        return outputs.gather(-1, y[:, None])[:, 0]
    return _column(outputs, label, "label")


def logit_difference(outputs: Tensor, y: Tensor, *, label: int, other: int) -> Tensor:
    """Return the logit of one class minus that of another.

    Args:
        outputs: logits, (n, C).
        y: labels, which are not used.
        label: class that counts positively.
        other: class that counts negatively.

    Examples:
        >>> logit_difference(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), label=1, other=0)
        tensor([2.])
    """
    return _column(outputs, label, "label") - _column(outputs, other, "other")


def lead(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the logit of the query's label minus the largest logit of another class: positive where it is predicted.

    Args:
        outputs: logits, (n, C).
        y: labels, (n,).

    Examples:
        >>> lead(torch.tensor([[0.0, 2.0], [1.0, 1.5]]), torch.tensor([1, 0]))
        tensor([ 2.0000, -0.5000])
    """
    label = y[:, None]
    return (outputs.gather(-1, label) - outputs.scatter(-1, label, -torch.inf).amax(-1, keepdim=True))[:, 0]


def log_odds(outputs: Tensor, y: Tensor, *, label: int) -> Tensor:
    """Return log(p / (1 - p)) of one class, whatever the labels of the queries.

    Args:
        outputs: logits, (n, C).
        y: labels, which give the type of labels only.
        label: the class.

    Examples:
        >>> log_odds(torch.tensor([[0.0, 2.0]]), torch.tensor([0]), label=1)
        tensor([2.])
    """
    _column(outputs, label, "label")
    return margin(outputs, y.new_full((len(outputs),), label))


def log_probability(outputs: Tensor, y: Tensor) -> Tensor:
    """Return log p of the query's label, minus the cross-entropy.

    Args:
        outputs: logits, (n, C).
        y: labels, (n,).

    Examples:
        >>> log_probability(torch.tensor([[1.0, 1.0]]), torch.tensor([0]))
        tensor([-0.6931])
    """
    return -cross_entropy(outputs, y)


def label_margin(outputs: Tensor, y: Tensor, *, label: int) -> Tensor:
    """Return the margin of one label of a multi-label task: its logit where it applies, minus its logit elsewhere.

    Args:
        outputs: logits, (n, L).
        y: labels, (n, L). Where it is not known whether the label applies (``ignore_index``), the margin is NaN, so that
            the check names the query.
        label: the label.

    Examples:
        >>> label_margin(torch.tensor([[0.5, 2.0]]), torch.tensor([[1, 0]]), label=1)
        tensor([-2.])
    """
    logit_of_label = _column(outputs, label, "label")
    margins = torch.where(y[:, label] == 1, logit_of_label, -logit_of_label)
    return torch.where((y[:, label] == 0) | (y[:, label] == 1), margins, torch.nan)


def output(outputs: Tensor, y: Tensor, *, index: int = 0) -> Tensor:
    """Return one output, such as a predicted number.

    Args:
        outputs: outputs, (n, ...).
        y: labels, which are not used.
        index: position in the flattened outputs of an example.

    Examples:
        >>> output(torch.tensor([[0.5], [2.0]]), torch.zeros(2))
        tensor([0.5000, 2.0000])
    """
    return _column(outputs.reshape(len(outputs), -1), index, "index")


def _column(outputs: Tensor, index: int, name: str) -> Tensor:
    if outputs.ndim != 2 or not 0 <= index < outputs.shape[1]:
        raise UserError(
            f"target.args.{name} is {index}, but the model returns outputs of shape {tuple(outputs.shape[1:])}; choose one "
            "of its outputs, from 0"
        )
    return outputs[:, index]
