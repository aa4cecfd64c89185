"""Weights of single examples, which travel next to their labels as one tensor.

Engines take labels as one tensor with one row per example, whatever they mean: they slice, gather and stack its rows, and
hand them to the task. Labels and weights are therefore joined to a tensor (n, 1 + elements of a label) in float64, which
holds class labels exactly, and are separated again by the task.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proponent.settings.tasks.scaled_losses import ScaledLoss
from proponent.settings.tasks.task import Task


class SampleWeights(ScaledLoss):
    """A loss times a weight of the example; labels without weights, as those of queries, have weight 1.

    Args:
        inner: task of the labels.
        labels: (n, ...) labels, for their shape and type.
    """

    def __init__(self, inner: Task, labels: Tensor) -> None:
        super().__init__(inner)
        self._shape, self._dtype = labels.shape[1:], labels.dtype
        self._width = 1 + math.prod(self._shape)

    def scales(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the labels, and the weights."""
        if y.shape[1:] != (self._width,):
            return y, outputs.new_ones(len(outputs))
        return self._labels(y), y[:, 0].to(outputs.dtype)

    def check_outputs(self, outputs: Tensor, y: Tensor, where: str) -> None:
        """Refuse what the inner task refuses."""
        self.inner.check_outputs(outputs, self._labels(y) if y.shape[1:] == (self._width,) else y, where)

    def _labels(self, y: Tensor) -> Tensor:
        return y[:, 1:].reshape(len(y), *self._shape).to(self._dtype)


def with_sample_weights(task: Task, y: Tensor, weight: Tensor) -> tuple[Task, Tensor]:
    """Return a task whose losses are weighted, and labels that hold the weights.

    Args:
        task: task of the labels.
        y: (n, ...) labels.
        weight: (n,) factors of the losses.
    """
    joined = torch.cat([weight.double()[:, None], y.reshape(len(y), -1).double()], 1)
    return SampleWeights(task, y), joined
