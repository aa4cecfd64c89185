"""Rows of token numbers, and the sign of text similarities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proponent.methods.shared.array_needs import ArrayData, ArrayRows

PADDING = 0
"""Token number that fills up short rows."""


def without_padding(x: ArrayRows) -> list[NDArray[np.integer]]:
    """Return the token numbers of each row of ``x`` without the padding.

    Args:
        x: token numbers (n, length), or a dictionary with the names ``input_ids`` and, if padding is not the number 0,
            ``attention_mask``, 0 for padding; as in :mod:`proponent.rows`, without torch.
    """
    tokens = _numbers(x)
    kept = x.get("attention_mask", tokens) if isinstance(x, dict) else tokens
    return [row[mask != PADDING] for row, mask in zip(tokens, kept, strict=True)]


def vocabulary_size(data: ArrayData) -> int:
    """Return the largest token number of examples and queries, plus 1."""
    return int(max(_numbers(data.x_train).max(), _numbers(data.x_query).max())) + 1


def _numbers(x: ArrayRows) -> NDArray[np.integer]:
    return x["input_ids"] if isinstance(x, dict) else x


def negate_across_labels(scores: NDArray[np.float32], data: ArrayData) -> NDArray[np.float32]:
    """Return ``scores`` (n_query, n_train), negated where the labels of query and example differ."""
    same: NDArray[Any] = data.y_query[:, None] == data.y_train[None, :]
    return np.where(same, scores, -scores)
