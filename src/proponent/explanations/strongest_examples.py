"""Strongest proponents and opponents of one query, nearest neighbours, and examples that are proponents of many queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


def strongest(scores: Floats, count: int) -> tuple[Indices, Indices]:
    """Return the indices of the strongest proponents and of the strongest opponents, the strongest first.

    Args:
        scores: (n_train,) scores of one query. Ties are broken by index; an example with score 0 is neither.
        count: largest number of proponents, and of opponents.
    """
    downwards, upwards = np.argsort(-scores, kind="stable"), np.argsort(scores, kind="stable")
    proponents, opponents = downwards[:count], upwards[:count]
    return proponents[scores[proponents] > 0], opponents[scores[opponents] < 0]


def nearest_neighbours(query: Floats, train: Floats, count: int) -> tuple[Indices, Floats]:
    """Return the indices of the training examples with the most similar representations, and their cosines.

    Args:
        query: (d,) representation of the query.
        train: (n_train, d) representations of the training examples.
        count: number of neighbours, at most ``n_train``.

    Returns:
        Indices (count,) and cosines (count,), the most similar first; the cosine with a representation of zeros is 0.
    """
    lengths = np.linalg.norm(train, axis=1) * np.linalg.norm(query)
    inner = train @ query
    cosines = np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 0)
    order = np.argsort(-cosines, kind="stable")[:count]
    return order, cosines[order]


def random_of_class(labels: NDArray[Any], label: int, count: int, seed: int = 0) -> Indices:
    """Return the indices of random training examples of one class, without repetition.

    Args:
        labels: (n_train,) class labels.
        label: the class.
        count: largest number of examples; fewer if the class has fewer.
        seed: seed of the draw.
    """
    rows = np.flatnonzero(labels == label)
    return np.random.default_rng(seed).permutation(rows)[:count]


@dataclass(frozen=True)
class Everywhere:
    """Training examples by the number of queries that they are strong proponents of.

    Attributes:
        counts: (n_train,) int64, number of queries for which the example is among the ``k`` strongest proponents.
        relative: (n_train,) float64, mean over queries of the score, divided by the largest absolute score of the query.
        k: number of proponents per query that count.
        queries: number of queries.
    """

    counts: Indices
    relative: NDArray[np.float64]
    k: int
    queries: int

    def order(self) -> Indices:
        """Return the indices of the training examples, those that are proponents of the most queries first."""
        return np.lexsort((-self.relative, -self.counts))


def proponents_everywhere(scores: Floats, k: int) -> Everywhere:
    """Count for each training example the queries of which it is one of the strongest proponents.

    Args:
        scores: (n_query, n_train) scores, of any unit per query.
        k: number of proponents per query that count; an example with a score of 0 or less is not one of them.
    """
    counts = np.zeros(scores.shape[1], dtype=np.int64)
    for row in scores:
        counts[strongest(row, k)[0]] += 1
    largest = np.abs(scores).max(axis=1, keepdims=True).astype(np.float64)
    relative = np.divide(scores, largest, out=np.zeros(scores.shape), where=largest > 0).mean(axis=0)
    return Everywhere(counts, relative, k, len(scores))
