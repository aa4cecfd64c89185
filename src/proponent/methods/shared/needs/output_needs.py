"""Needs of methods that look at a member's outputs, or at the inputs of its last linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class OutputPair(Protocol):
    """Outputs of one member at one checkpoint."""

    train: Tensor
    """Logits or predictions for the training examples, (n_train, n_outputs)."""
    query: Tensor
    """Logits or predictions for the queries, (n_query, n_outputs)."""
    loss_weight: Tensor
    """(n_train,) in [0, 1]: 1 - p for classification, 1 otherwise."""


class Outputs(Protocol):
    """Outputs of one member along its training."""

    def at(self, checkpoint: float) -> OutputPair:
        """Return the outputs at a checkpoint."""
        ...

    def along(self) -> Iterator[OutputPair]:
        """Yield the outputs at all checkpoints, the final one last."""
        ...


class RepresentationPair(Protocol):
    """Inputs of the last linear layer, at one checkpoint."""

    train: Tensor
    """(n_train, d)"""
    query: Tensor
    """(n_query, d)"""


class Representations(Protocol):
    """Representations of one member along its training."""

    def at(self, checkpoint: float) -> RepresentationPair:
        """Return the representations at a checkpoint."""
        ...
