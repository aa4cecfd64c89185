"""Agreement of two score matrices, query by query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores = NDArray[np.floating]


def pearson(left: Scores, right: Scores) -> NDArray[np.float64]:
    """Return Pearson's correlation over the training examples of each query, (n_query,); NaN for constant scores.

    Args:
        left: (n_query, n_train).
        right: (n_query, n_train).
    """
    left, right = (each - each.mean(1, keepdims=True) for each in (left.astype(float), right.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.sqrt((left**2).sum(1) * (right**2).sum(1))
        return (left * right).sum(1) / lengths


def spearman(left: Scores, right: Scores) -> NDArray[np.float64]:
    """Return Spearman's correlation with average ranks of ties, query by query, (n_query,)."""
    return pearson(rankdata(left, axis=1), rankdata(right, axis=1))


def medians(left: Scores, right: Scores) -> dict[str, float]:
    """Return the medians over queries of both correlations; queries whose scores are constant or NaN count as 0."""
    return {
        name: float(np.median(np.nan_to_num(correlation(left, right))))
        for name, correlation in (("spearman", spearman), ("pearson", pearson))
    }
