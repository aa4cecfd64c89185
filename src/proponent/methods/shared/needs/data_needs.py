"""Needs that involve no model: the data, and the scores of other methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

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


class Texts(Protocol):
    """Examples and queries as people read them, the label included."""

    train: list[str]
    """Texts of the training examples, (n_train,)."""
    query: list[str]
    """Texts of the queries, (n_query,)."""


Scores = Mapping[str, Tensor]
"""Scores of other methods for the same queries, (n_query, n_train) each, by the names that the YAML lists as ``scores``."""
