"""Fact tracing: mean reciprocal rank and recall of the training examples that state what a query asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import check_k, flags, score_matrix
from proponent.metrics.planted_examples import truth_of_both
from proponent.metrics.query_means import count_constant, mean_estimate
from proponent.metrics.tied_rankings import inclusion, reciprocal_rank, tied_groups

NEEDS = ("planted/fact",)
RANGES = {"k": "[1, inf)"}


def evaluate(
    inputs: MetricInputs, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``mrr`` and ``recall_K`` (Akyürek et al., 2022): how early the sources of a query come among its proponents.

    ``mrr`` is the reciprocal rank of the first source, ``recall_K`` the share of a query's sources among the first ``k``.
    Ties have their expected value. Both are averaged over the queries that have a source; the interval is over these
    queries. Near chance, that of ``mrr`` is too narrow (see :mod:`proponent.metrics.duplicates`).

    Args:
        inputs: scores, and the planted truth ``fact``, the number of the fact that an example states or a query asks; a
            negative number stands for none.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Two estimates. Their extras: ``chance``, the value of a random ranking; ``best``, the largest possible value;
        ``n_constant_scores`` queries whose scores are all equal, which have the value of chance; ``n_queries``,
        ``per_query``.

    Raises:
        UserError: scores of the wrong shape or not finite; fewer than ``k`` examples; no query has a source.
    """
    stated, asked = truth_of_both(inputs, "fact", "retrieval")
    relevant = (asked[:, None] == stated) & (stated >= 0)
    return found_sources(inputs.scores, relevant, k, resamples, seed)


def found_sources(
    scores: NDArray[np.floating], relevant: NDArray[np.bool_], k: int, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Return both estimates of :func:`evaluate`, with ``relevant`` (n_query, n_train), True = the example is a source."""
    check_scores(scores, *relevant.shape)
    check_k(k, relevant.shape[1], "retrieval")
    asked = relevant.any(axis=1)
    if not asked.any():
        raise UserError("metric retrieval: no query has a source among the training examples")
    scores, relevant = scores[asked], relevant[asked]
    counts, n_train = relevant.sum(axis=1), relevant.shape[1]
    groups = [tied_groups(*row) for row in zip(scores, relevant, strict=True)]
    ranks = np.array([reciprocal_rank(*row) for row in groups])
    recalls = (inclusion(scores, k) * relevant).sum(axis=1) / counts
    chance = [reciprocal_rank(np.array([[c]]), np.array([[n_train - c]])) for c in counts.astype(float)]
    constant = count_constant(scores)
    return {
        "mrr": mean_estimate(
            ranks, resamples, seed, chance=float(np.mean(chance)), best=1.0, n_constant_scores=constant
        ),
        f"recall_{k}": mean_estimate(
            recalls,
            resamples,
            seed,
            k=k,
            chance=k / n_train,
            best=float((np.minimum(counts, k) / counts).mean()),
            n_constant_scores=constant,
        ),
    }


def retrieval_of_arrays(
    scores: ArrayLike, relevant: ArrayLike, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return how early the known sources of queries come in scores that were computed anywhere.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        relevant: (n_query, n_train), True = the example is a source of the query. Queries without one are left out.
        k: number of proponents per query for the recall.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        Estimates by name, each in [0, 1] with its 95 % bootstrap interval over queries: ``mrr``, the mean reciprocal rank of
        the first source, and ``recall_K``, the share of the sources among the first ``k``.

    Raises:
        UserError: shapes do not fit, scores are not finite, ``k`` is too large, or no query has a source.

    Examples:
        >>> import proponent
        >>> scores = [[0.1, 0.9, 0.5], [0.8, 0.2, 0.3]]
        >>> relevant = [[False, False, True], [True, False, False]]
        >>> proponent.metrics.retrieval(scores, relevant, k=1)["mrr"].value
        0.75
    """
    found = score_matrix(scores)
    marked = flags(relevant, found.shape, "relevant", "sources of a query")
    return found_sources(found, marked, k, resamples, seed)


make_callable(__name__, retrieval_of_arrays)
