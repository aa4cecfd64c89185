"""Share of the strongest proponents that have the label of the query (Hanawa et al., 2021, identical class test)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import check_k, labels_of, score_matrix
from proponent.metrics.query_means import count_constant, mean_estimate
from proponent.metrics.tied_rankings import inclusion

NEEDS = ("labels",)
RANGES = {"k": "[1, inf)"}


def evaluate(
    inputs: MetricInputs, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``same_class_K``: :func:`class_precision` for the labels on which the models were trained.

    Args:
        inputs: scores, and the labels of examples and queries.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: scores of the wrong shape or not finite; fewer than ``k`` examples; no labels.
    """
    if inputs.labels is None:
        raise UserError("metric same_class: the setting has no classes; leave the metric out")
    y_train, y_query = inputs.labels
    return {
        f"same_class_{k}": class_precision(inputs.scores, y_train, y_query, k, resamples, seed, "same_class")
    }


def class_precision(
    scores: NDArray[np.floating],
    y_train: NDArray[Any],
    y_query: NDArray[Any],
    k: int,
    resamples: int,
    seed: int,
    metric: str,
) -> Estimate:
    """Return the share of the ``k`` strongest proponents that are of the query's class, averaged over queries.

    Ties at the k-th place count by the share of them that is chosen on average. The interval is over queries.

    Returns:
        The estimate. Its extras: ``chance``, the value of a random ranking; ``best``, the largest possible value, below 1
        where a class has fewer than ``k`` examples; ``k``; ``n_constant_scores`` queries whose scores are all equal, which
        have the value of chance; ``n_queries`` and ``per_query``.
    """
    check_scores(scores, len(y_query), len(y_train))
    check_k(k, len(y_train), metric)
    agree = y_query[:, None] == y_train[None, :]
    per_query = (inclusion(scores, k) * agree).sum(axis=1) / k
    return mean_estimate(
        per_query,
        resamples,
        seed,
        k=k,
        chance=float(agree.mean()),
        best=float(np.minimum(agree.sum(axis=1) / k, 1).mean()),
        n_constant_scores=count_constant(scores),
    )


def same_class_of_arrays(
    scores: ArrayLike,
    labels: ArrayLike,
    query_labels: ArrayLike,
    *,
    k: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return how many of the strongest proponents have the class of the query, for scores that were computed anywhere.

    This is the identical class test (Hanawa et al., 2021). A method that knows labels passes it without any model, so it is
    a sanity check and not a measure of quality.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        labels: (n_train,) class of each training example.
        query_labels: (n_query,) class of each query.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The share in [0, 1]; its 95 % bootstrap interval over queries; and extras: ``chance``, the value of a random ranking,
        and ``best``, the largest possible value.

    Raises:
        UserError: shapes do not fit, scores are not finite, or there are fewer than ``k`` examples.

    Examples:
        >>> import proponent
        >>> scores = [[0.9, 0.1, -0.5, 0.8], [0.2, -0.1, 0.7, 0.3]]
        >>> proponent.metrics.same_class(scores, [0, 0, 1, 1], [0, 1], k=2).value
        0.75
    """
    return precision_of_arrays(scores, labels, query_labels, k, resamples, seed, "same_class")


def precision_of_arrays(
    scores: ArrayLike,
    labels: ArrayLike,
    query_labels: ArrayLike,
    k: int,
    resamples: int,
    seed: int,
    metric: str,
) -> Estimate:
    """Return :func:`class_precision` for arrays of which nothing is known yet."""
    found = score_matrix(scores)
    n_query, n_train = found.shape
    y_train, y_query = labels_of(labels, n_train, "labels"), labels_of(query_labels, n_query, "query_labels")
    return class_precision(found, y_train, y_query, k, resamples, seed, metric)


make_callable(__name__, same_class_of_arrays)
