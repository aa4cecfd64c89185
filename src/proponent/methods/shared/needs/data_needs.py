"""Needs that involve no model: the data, and the scores of other methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import Module

from proponent.rows import Rows


class Data(Protocol):
    """Training examples and queries. Which labels were corrupted is never part of it."""

    x_train: Rows
    """Inputs of the training examples, (n_train, ...)."""
    y_train: Tensor
    """Labels of the training examples, (n_train, ...)."""
    x_query: Rows
    """Inputs of the queries, (n_query, ...)."""
    y_query: Tensor
    """Labels of the queries, (n_query, ...)."""


@dataclass(frozen=True, eq=False)
class TextStates:
    """Texts in the middle of an encoder, after those of its layers that are not tuned.

    Attributes:
        states: (n, length, width).
        mask: 1 for tokens and 0 for padding, (n, length).
    """

    states: Tensor
    mask: Tensor

    def __len__(self) -> int:
        """Return n."""
        return len(self.states)


class Texts(Protocol):
    """Examples and queries as people read them, the label included, and a pretrained encoder that reads them."""

    train: list[str]
    """Texts of the training examples, (n_train,)."""
    query: list[str]
    """Texts of the queries, (n_query,)."""

    def states(self, length: int, layers: int) -> dict[str, TextStates]:
        """Return ``train`` and ``query`` below the last ``layers`` layers, cut after ``length`` tokens."""
        ...

    def upper_layers(self, layers: int) -> Module:
        """Return the last ``layers`` layers of the encoder.

        The module has a ``width`` and ``pooled(states, mask)``, the mean states of texts (n, width) after these layers.
        """
        ...


Scores = Mapping[str, Tensor]
"""Scores of other methods for the same queries, (n_query, n_train) each, by the names that the YAML lists as ``scores``."""
