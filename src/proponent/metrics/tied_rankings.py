"""Quality of rankings in which values may be equal: expectations over all orders of equal values.

Scores of sparse methods have many ties, and the order in which a sort leaves them is an accident. Every function here
returns the mean over the orders of equal values, in closed form (McSherry & Najork, 2008, "Computing information
retrieval performance measures efficiently in the presence of tied scores"). A constant ranking therefore has the value of
a random one. scikit-learn's ``average_precision_score`` counts a group of ties at its end instead; without ties, the two
are equal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.metrics.estimate import Array


def tied_groups(values: NDArray[np.floating], relevant: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return how many relevant and how many other items each group of equal values has, largest value first.

    Args:
        values: (n,) by which items are ranked.
        relevant: (n,) bool.

    Returns:
        Two arrays (1, n_groups).
    """
    distinct, group = np.unique(-values, return_inverse=True)
    found, others = (
        np.bincount(group[chosen], minlength=len(distinct)).astype(np.float64)[None]
        for chosen in (relevant, ~relevant)
    )
    return found, others


def average_precision(relevant: Array, others: Array) -> Array:
    """Return the average precision (area under the precision-recall curve), in expectation over ties.

    Let t items be tied, p of them relevant, after N items with P relevant ones. The item at place j of the group is relevant
    with probability p / t, and then P + 1 + (j - 1) (p - 1) / (t - 1) items up to it are expected to be relevant; the sum of
    these precisions over j is a difference of harmonic numbers.

    Args:
        relevant: (B, n_groups) numbers of relevant items per group of equal values, in each of B rankings; at least one item
            of a ranking is relevant.
        others: (B, n_groups) numbers of other items.

    Returns:
        (B,) values in (0, 1].
    """
    total = relevant + others
    before = np.cumsum(total, axis=1) - total
    relevant_before = np.cumsum(relevant, axis=1) - relevant
    slope = np.where(total > 1, (relevant - 1) / np.maximum(total - 1, 1), 0.0)
    sums = slope * total + (relevant_before + 1 - slope * (before + 1)) * _harmonic(before, total)
    share = np.where(total > 0, relevant / np.maximum(total, 1), 0.0)
    precision: Array = (share * sums).sum(axis=1) / relevant.sum(axis=1)
    return np.minimum(precision, 1.0)  # rounding errors of the harmonic numbers


def _harmonic(before: Array, total: Array) -> Array:
    """Return the sum of 1 / (before + j) over j from 1 to ``total``."""
    numbers = np.zeros(int((before + total).max(initial=0)) + 1)
    np.cumsum(1 / np.arange(1, len(numbers)), out=numbers[1:])
    sums: Array = numbers[(before + total).astype(int)] - numbers[before.astype(int)]
    return sums


def chance_average_precision(n_relevant: int, n_items: int) -> float:
    """Return the mean average precision of a random ranking, which is above the share of relevant items."""
    return float(
        average_precision(np.array([[float(n_relevant)]]), np.array([[float(n_items - n_relevant)]]))[0]
    )


def reciprocal_rank(relevant: Array, others: Array) -> float:
    """Return the reciprocal of the rank of the first relevant item, in expectation over ties.

    The first of p relevant items among t tied ones is at place j with probability C(t - j, p - 1) / C(t, p).

    Args:
        relevant: (1, n_groups) numbers of relevant items per group; at least one item is relevant.
        others: (1, n_groups) numbers of other items.
    """
    first = int(np.argmax(relevant[0] > 0))
    before = float((relevant + others)[0, :first].sum())
    p, t = float(relevant[0, first]), float((relevant + others)[0, first])
    places = np.arange(1, int(t - p) + 1)
    steps = (t - places - p + 1) / (t - places)
    probability = p / t * np.concatenate([[1.0], np.cumprod(steps)])
    return float((probability / (before + 1 + np.arange(len(probability)))).sum())


def inclusion(scores: NDArray[np.floating], k: int) -> Array:
    """Return the probability that each item is among the ``k`` largest of its row, in expectation over ties.

    Args:
        scores: (n_rows, n_items), with at least ``k`` items.
        k: number of items that are chosen per row.

    Returns:
        (n_rows, n_items); rows sum to ``k``.
    """
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, tied = scores > last, scores == last
    left = k - above.sum(axis=1, keepdims=True)
    chosen: Array = above + tied * (left / tied.sum(axis=1, keepdims=True))
    return chosen
