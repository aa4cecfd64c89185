"""Rows of token numbers, and the sign of text similarities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.methods.shared.array_needs import ArrayData

PADDING = 0
"""Token number that fills up short rows."""


def without_padding(x: NDArray[np.integer]) -> list[NDArray[np.integer]]:
    """Return the token numbers of each row of ``x`` (n, length) without the padding."""
    return [row[row != PADDING] for row in x]


def vocabulary_size(data: ArrayData) -> int:
    """Return the largest token number of examples and queries, plus 1."""
    return int(max(data.x_train.max(), data.x_query.max())) + 1


def negate_across_labels(scores: NDArray[np.float32], data: ArrayData) -> NDArray[np.float32]:
    """Return ``scores`` (n_query, n_train), negated where the labels of query and example differ."""
    same: NDArray[Any] = data.y_query[:, None] == data.y_train[None, :]
    return np.where(same, scores, -scores)
