"""Stability over members: the rank correlation of a method's scores for two disjoint sets of members of the ensemble."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.method_agreement import correlation_by_query
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import score_matrix
from proponent.metrics.query_means import mean_estimate

NEEDS = ("repeated/members",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``stability``: whether the method ranks the examples alike when it is given other members of the ensemble.

    The members differ in initialisation and order of batches alone. Spearman's correlation over training examples (mid-ranks
    for ties) is averaged over queries; a query with equal scores for all examples counts as 0. The interval is over queries,
    and does not cover which two sets of members were compared.

    Args:
        inputs: scores, and the scores of the same method and hyper-parameters for as many other members (``members``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``n_constant`` queries that count as 0, ``n_queries`` and ``per_query``.

    Raises:
        UserError: scores of different shapes or not finite; the scores were not repeated.
    """
    others = repeated_scores(inputs, "members", "stability")
    return {"stability": compare_scores(inputs.scores, others, resamples, seed)}


def repeated_scores(inputs: MetricInputs, what: str, metric: str) -> NDArray[np.floating]:
    """Return the scores (n_query, n_train) of the method for other models.

    Args:
        inputs: inputs of the metric.
        what: name of the other models, a key of ``inputs.repeated``.
        metric: name of the metric, for the message.

    Raises:
        UserError: the scores were not repeated.
    """
    if what not in inputs.repeated:
        raise UserError(
            f"metric {metric}: scores for {what.replace('_', ' ')} are missing; run snakemake again"
        )
    return inputs.repeated[what]


def compare_scores(
    scores: ArrayLike, others: ArrayLike, resamples: int, seed: int, *, difference: bool = False
) -> Estimate:
    """Return the mean over queries of the rank correlation of two score matrices, or of 1 minus its absolute value."""
    first, second = score_matrix(scores), score_matrix(others, "scores to compare with")
    check_scores(second, len(first), first.shape[1], "scores to compare with")
    per_query, is_constant = correlation_by_query(first, second)
    constant = int(is_constant.sum())
    if difference:
        changed = np.where(is_constant, 0.0, 1 - np.abs(per_query))
        return mean_estimate(changed, resamples, seed, n_constant=constant)
    return mean_estimate(per_query, resamples, seed, (-1.0, 1.0), n_constant=constant)


def stability_of_arrays(
    scores: ArrayLike, others: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how alike two runs of a method rank the training examples, for scores that were computed anywhere.

    Runs can differ in the seed of the model, or in the order of the training examples (with scores in the same order again):
    a method that does not depend on this order has the value 1.

    Args:
        scores: (n_query, n_train) of one run; positive = the example raises the query's target.
        others: (n_query, n_train) of the other run.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        Spearman's correlation over training examples in [-1, 1], averaged over queries, with its 95 % bootstrap interval
        over queries.

    Raises:
        UserError: shapes differ, or scores are not finite.

    Examples:
        >>> import proponent
        >>> proponent.metrics.stability([[1.0, 2.0, 3.0]], [[10.0, 20.0, 30.0]]).value
        1.0
    """
    return compare_scores(scores, others, resamples, seed)


make_callable(__name__, stability_of_arrays)
