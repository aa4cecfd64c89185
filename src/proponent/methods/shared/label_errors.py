"""Predicted probabilities and labels of class outputs, for methods that compare them."""

from __future__ import annotations

import torch
from torch import Tensor


def class_logits(outputs: Tensor) -> Tensor:
    """Return one logit per class, (n, C): those of the outputs, or (0, z) for the one logit z of a binary task."""
    rows = outputs.reshape(len(outputs), -1)
    if rows.shape[1] > 1:
        return rows
    return torch.cat([torch.zeros_like(rows), rows], dim=1)


def probability_errors(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the predicted probabilities minus 1 at the label, (n, C): the derivative of the cross-entropy.

    At the label this is minus the sum of the other probabilities, which keeps its digits where the label is almost certain.

    Args:
        outputs: logits, (n, C), or one logit per example for a binary task.
        y: labels, (n,).
    """
    others = class_logits(outputs).softmax(1).scatter(1, y[:, None], 0.0)
    return others.scatter(1, y[:, None], -others.sum(1, keepdim=True))
