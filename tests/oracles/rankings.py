"""Rankings with ties by brute force: every order of equal values is written out and ranked, and the results are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product

import numpy as np


def orders(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all orders of the items in which larger values come first."""
    groups = [np.flatnonzero(values == value) for value in np.unique(values)[::-1]]
    for chosen in product(*(permutations(group) for group in groups)):
        yield np.concatenate([np.array(group) for group in chosen])


def expected(measure: Callable[[np.ndarray], float], values: np.ndarray, relevant: np.ndarray) -> float:
    """Return the mean of a measure of ``relevant`` in rank order over all orders of equal values."""
    return float(np.mean([measure(relevant[order]) for order in orders(values)]))


def average_precision(ranked: np.ndarray) -> float:
    """Return the mean precision at the ranks of the relevant items."""
    places = np.flatnonzero(ranked) + 1
    return float(np.mean([ranked[:place].sum() / place for place in places]))


def reciprocal_rank(ranked: np.ndarray) -> float:
    """Return the reciprocal of the rank of the first relevant item."""
    return 1 / (np.flatnonzero(ranked)[0] + 1)


def precision_at(k: int) -> Callable[[np.ndarray], float]:
    """Return the share of relevant items among the first ``k``, as a measure."""
    return lambda ranked: float(ranked[:k].mean())


def distinct_at(rows: np.ndarray, k: int) -> float:
    """Return the expected number of different items among the first ``k`` of any row, if rows break ties independently."""
    every = [[set(order[:k].tolist()) for order in orders(row)] for row in rows]
    return float(np.mean([len(set().union(*chosen)) for chosen in product(*every)]))
