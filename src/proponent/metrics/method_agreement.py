"""Agreement between methods: the rank correlation of their scores, for every pair of methods of a setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import check_scores
from proponent.metrics.plain_arrays import score_matrix
from proponent.metrics.ranks import resampled_ranks
from proponent.metrics.statistics import draw

NEEDS = ("scores of all methods",)

_DECIMALS = 12
"""Decimals of a correlation, so that equal rankings have exactly 1."""


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of the scores of two methods."""

    method_a: str
    method_b: str
    estimate: Estimate


def evaluate(
    scores: Mapping[str, Callable[[int], Array]], n_query: int, *, resamples: int = 1000, seed: int = 0
) -> list[Agreement]:
    """Return Spearman's correlation of scores over training examples, averaged over queries, for every pair of methods.

    Ties have mid-ranks. A query for which the scores of one of the methods are all equal counts as 0. The interval is over
    queries. Ranks of one query at a time are in memory.

    Args:
        scores: function from the number of a query to its scores (n_train,), by method.
        n_query: number of queries.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Returns:
        One entry per pair, in the order of ``scores``. Extras of an estimate: ``n_constant`` queries that count as 0 and
        ``n_queries``.
    """
    per_query, constant = [], []
    for query in range(n_query):
        ranks, flat = scaled_ranks([of(query) for of in scores.values()])
        per_query.append(np.round(ranks @ ranks.T, _DECIMALS))
        constant.append(flat)
    correlations, is_flat = np.array(per_query), np.array(constant)
    weights = draw(1, n_query, resamples, seed).queries
    found = []
    for (a, first), (b, second) in combinations(enumerate(scores), 2):
        means = weights @ correlations[:, a, b]
        extras = {"n_constant": int((is_flat[:, a] | is_flat[:, b]).sum()), "n_queries": n_query}
        found.append(
            Agreement(first, second, Estimate.from_replicates(means[0], means[1:], (-1.0, 1.0), extras))
        )
    return found


def scaled_ranks(rows: Iterable[NDArray[np.floating]]) -> tuple[Array, NDArray[np.bool_]]:
    """Return mid-ranks whose inner products are Spearman's correlations.

    Args:
        rows: rankings (n,) of the same items.

    Returns:
        (n_rows, n) ranks, centred and divided by their norm, 0 in a row of equal values; and (n_rows,) whether it is one.
    """
    ranks = np.array(
        [resampled_ranks(np.asarray(row, np.float64), np.ones((len(row), 1)))[:, 0] for row in rows]
    )
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, norms, out=np.zeros_like(ranks), where=norms > 0), norms[:, 0] == 0


def correlation_by_query(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[Array, NDArray[np.bool_]]:
    """Return Spearman's correlation of each row of ``a`` with the same row of ``b``, and where one of the rows is constant.

    Args:
        a: (n_query, n_train) scores.
        b: (n_query, n_train) scores.
    """
    pairs = [scaled_ranks(pair) for pair in zip(a, b, strict=True)]
    found = np.array([ranks[0] @ ranks[1] for ranks, _ in pairs])
    return np.round(found, _DECIMALS), np.array([flat.any() for _, flat in pairs])


def agreement_of_arrays(
    scores: Mapping[str, ArrayLike], *, resamples: int = 1000, seed: int = 0
) -> dict[tuple[str, str], Estimate]:
    """Return how similarly methods rank the training examples, for scores that were computed anywhere.

    Args:
        scores: arrays (n_query, n_train) by name of the method; positive = the example raises the query's target.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Returns:
        By pair of methods, Spearman's correlation over training examples in [-1, 1], averaged over queries, with its 95 %
        bootstrap interval over queries.

    Raises:
        UserError: there are fewer than two methods, shapes differ, or scores are not finite.

    Examples:
        >>> import proponent
        >>> found = proponent.metrics.method_agreement({"a": [[1.0, 2.0, 3.0]], "b": [[10.0, 30.0, 20.0]]})
        >>> print(f"{found['a', 'b'].value:.2f}")
        0.50
    """
    if not isinstance(scores, Mapping) or len(scores) < 2:
        raise UserError("metric method_agreement: give the scores of at least two methods, by name")
    arrays = {name: score_matrix(values, f"scores of {name}") for name, values in scores.items()}
    n_query, n_train = next(iter(arrays.values())).shape
    for name, values in arrays.items():
        check_scores(values, n_query, n_train, f"scores of {name}")
    pairs = evaluate({n: v.__getitem__ for n, v in arrays.items()}, n_query, resamples=resamples, seed=seed)
    return {(pair.method_a, pair.method_b): pair.estimate for pair in pairs}


make_callable(__name__, agreement_of_arrays)
