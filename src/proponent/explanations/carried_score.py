"""Sparsity of an explanation: how many training examples carry most of a query's score.

The total of a query is the sum of the *absolute* scores of all training examples, because proponents and opponents cancel in
the plain sum. An explanation is sparse if few examples carry most of this total.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = (0.5, 0.9, 0.99)
"""Shares of the total for which the numbers of examples are reported."""


def carrying_examples(
    scores: NDArray[np.floating[Any]], shares: Sequence[float] = SHARES
) -> NDArray[np.int64]:
    """Return the smallest number of training examples that carry each share of a query's total absolute score.

    Args:
        scores: (n_query, n_train) scores.
        shares: shares in (0, 1].

    Returns:
        (n_query, n_shares) int64; 0 for a query whose scores are all 0.
    """
    sizes = -np.sort(-np.abs(scores).astype(np.float64), axis=1)
    carried = np.cumsum(sizes, axis=1)
    total = carried[:, -1:]
    # a sum that reaches the share up to rounding counts
    short = [(carried < share * total * (1 - 1e-12)).sum(axis=1) for share in shares]
    return np.where(total > 0, np.stack(short, axis=1) + 1, 0)


def supporting_examples(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the number of training examples with a score other than 0 per query, (n_query,)."""
    return np.count_nonzero(scores, axis=1)
