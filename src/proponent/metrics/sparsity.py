"""Sparsity of scores: how few examples carry most of the absolute score of a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.plain_arrays import score_matrix
from proponent.metrics.query_means import mean_estimate

NEEDS = ()
RANGES = {"percent": "(0, 100)"}


def evaluate(
    inputs: MetricInputs, *, percent: int = 90, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``sparsity_P``: the share of examples that may be left out while ``percent`` % of the absolute scores remain.

    The examples of a query are sorted by absolute score; the smallest number of them that carries ``percent`` % of the
    sum is found by linear interpolation, and 1 minus its share of all examples is averaged over queries. Equal scores
    have the value 1 - percent / 100, a single score other than 0 a value near 1. Queries whose scores are all 0 count as
    0. The interval is over queries.

    Args:
        inputs: scores.
        percent: percentage of the sum of absolute scores that has to be carried.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``zero_share``, the share of scores that are exactly 0; ``n_constant``, the queries whose
        scores are all 0; ``n_queries`` and ``per_query``.

    Raises:
        UserError: scores of the wrong shape or not finite.
    """
    return {f"sparsity_{percent}": carried(inputs.scores, percent, resamples, seed)}


def carried(scores: NDArray[np.floating], percent: float, resamples: int, seed: int) -> Estimate:
    """Return the estimate of :func:`evaluate` for scores (n_query, n_train)."""
    scores = score_matrix(scores)
    per_query = np.array([_left_out(np.abs(row), percent / 100) for row in scores])
    return mean_estimate(
        per_query,
        resamples,
        seed,
        zero_share=float((scores == 0).mean()),
        n_constant=int((scores == 0).all(axis=1).sum()),
    )


def _left_out(sizes: Array, share: float) -> float:
    largest = np.sort(sizes)[::-1]
    sums = np.concatenate([[0.0], np.cumsum(largest)])
    if sums[-1] == 0:
        return 0.0
    return float(1 - np.interp(share * sums[-1], sums, np.arange(len(sums))) / len(sizes))


def sparsity_of_arrays(
    scores: ArrayLike, *, percent: int = 90, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how sparse scores are that were computed anywhere.

    Args:
        scores: (n_query, n_train), of which only the absolute values count.
        percent: percentage, above 0 and below 100, of the sum of absolute scores that has to be carried.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The share of examples that may be left out, in [0, 1), averaged over queries; its 95 % bootstrap interval over
        queries; and extras, among them ``zero_share``, the share of scores that are exactly 0.

    Raises:
        UserError: scores are not a finite matrix, or ``percent`` is out of range.

    Examples:
        >>> import proponent
        >>> print(f"{proponent.metrics.sparsity([[5.0, 0.0, 0.0, 0.0]]).value:.3f}")
        0.775
    """
    if not 0 < percent < 100:
        raise UserError(f"metric sparsity: percent must lie above 0 and below 100, not {percent!r}")
    return carried(score_matrix(scores), percent, resamples, seed)


make_callable(__name__, sparsity_of_arrays)
