"""Top-k cardinality (Bareeva et al., 2024): how many different examples the strongest proponents of all queries are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.plain_arrays import check_k, score_matrix
from proponent.metrics.query_means import count_constant
from proponent.metrics.statistics import draw
from proponent.metrics.tied_rankings import inclusion

NEEDS = ()
RANGES = {"k": "[1, inf)"}

_AT_A_TIME = 64
"""Resamples per batch, which bounds the memory."""


def evaluate(
    inputs: MetricInputs, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``cardinality_K``: the number of different examples among the ``k`` strongest proponents of all queries.

    It is divided by k times the number of queries. A method whose scores do not depend on the query names the same ``k``
    examples each time. Ties count by the expected number of different examples if they are broken for each query
    independently. The interval is over queries.

    Args:
        inputs: scores.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``chance``, the value of random scores; ``best``, the largest possible value; ``worst``,
        the value of scores that are the same for all queries; ``k``, ``n_queries``, ``n_constant_scores``.

    Raises:
        UserError: scores of the wrong shape or not finite; fewer than ``k`` examples.
    """
    return {f"cardinality_{k}": distinct(inputs.scores, k, resamples, seed)}


def distinct(scores: NDArray[np.floating], k: int, resamples: int, seed: int) -> Estimate:
    """Return the estimate of :func:`evaluate` for scores (n_query, n_train)."""
    scores = score_matrix(scores)
    n_query, n_train = scores.shape
    check_k(k, n_train, "cardinality")
    weights = draw(1, n_query, resamples, seed).queries
    # A query that a resample repeats adds no new example, so its number of repetitions does not matter.
    counts = _expected_distinct(inclusion(scores, k), weights > 0)
    # Resamples have fewer different queries, in proportion to which they could name examples.
    shares = counts / (k * (weights > 0).sum(axis=1))
    return Estimate.from_replicates(
        shares[0],
        shares[1:],
        bounds=(0.0, 1.0),
        extras={
            "chance": n_train * (1 - (1 - k / n_train) ** n_query) / (k * n_query),
            "best": min(1.0, n_train / (k * n_query)),
            "worst": 1 / n_query,
            "k": k,
            "n_queries": n_query,
            "n_constant_scores": count_constant(scores),
        },
    )


def _expected_distinct(chosen: Array, drawn: NDArray[np.bool_]) -> Array:
    """Return the expected number of examples that at least one drawn query chooses.

    Args:
        chosen: (n_query, n_train) probability that the query chooses the example.
        drawn: (B, n_query), True = the query is in the resample.

    Returns:
        (B,).
    """
    # The product of probabilities is a sum of logarithms, with certain choices counted apart.
    certain = chosen >= 1
    log_missed = np.log1p(-np.where(certain, 0.0, chosen))
    found = np.empty(len(drawn))
    for start in range(0, len(drawn), _AT_A_TIME):
        rows = drawn[start : start + _AT_A_TIME].astype(np.float64)
        missed = np.exp(rows @ log_missed) * (rows @ certain.astype(np.float64) == 0)
        found[start : start + _AT_A_TIME] = (1 - missed).sum(axis=1)
    return found


def cardinality_of_arrays(
    scores: ArrayLike, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how many different examples are among the strongest proponents of all queries, for scores from anywhere.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The number divided by k times n_query, in [0, 1]; its 95 % bootstrap interval over queries; and extras: ``chance``
        for random scores, ``worst`` for scores that are the same for all queries, and ``best``, the largest possible
        value.

    Raises:
        UserError: scores are not a finite matrix, or ``k`` is not a number of examples.

    Examples:
        >>> import proponent
        >>> proponent.metrics.cardinality([[0.9, 0.2, 0.1], [0.8, 0.1, 0.3]], k=1).value
        0.5
    """
    return distinct(score_matrix(scores), k, resamples, seed)


make_callable(__name__, cardinality_of_arrays)
