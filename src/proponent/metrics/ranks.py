"""Rank and linear correlations on many resamples at once, from the counts of the resampled units.

A resample of m units is a vector of m counts. Mid-ranks with multiplicities do not need a sort per resample:
the position of a value in a resample is the number of resampled units below it, which is a cumulative sum of
the counts in the order of the original sample. One sort per variable therefore serves all resamples,
whereas scipy.stats.spearmanr would rank each of the thousand resamples anew.
"""

from __future__ import annotations

import numpy as np

from proponent.metrics.estimate import Array


def resampled_ranks(values: Array, counts: Array) -> Array:
    """Return the mid-ranks of each unit in each resample, centred on zero.

    Args:
        values: (m,) one variable; equal values share the mean of their ranks.
        counts: (m, B) how often each unit occurs in each resample.

    Returns:
        (m, B). Units with count zero get the rank that they would have among the others.
    """
    m, resamples = counts.shape
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, values, side="left")
    behind = np.searchsorted(ordered, values, side="right")
    below = np.zeros((m + 1, resamples))
    np.cumsum(counts[order], axis=0, out=below[1:])
    # Tied values share the ranks below[first] + 1 ... below[behind]. Their mean rank is centred by subtracting the
    # mean (N + 1) / 2 of all N ranks.
    ranks: Array = below[first]
    ranks += below[behind]
    ranks *= 0.5
    ranks -= below[-1] / 2
    return ranks


def resampled_spearman(x: Array, y: Array, counts: Array) -> Array:
    """Return Spearman's correlation of each column of ``x`` with the same column of ``y`` in each resample.

    Args:
        x: (m, n_query) first variable of each query.
        y: (m, n_query) second variable of each query.
        counts: (m, B) how often each unit occurs in each resample.

    Returns:
        (B, n_query); 0 where a variable is constant in the resample.
    """
    correlations = np.empty((counts.shape[1], x.shape[1]))
    for q in range(x.shape[1]):
        rank_x = resampled_ranks(x[:, q], counts)
        rank_y = resampled_ranks(y[:, q], counts)
        weighted = counts * rank_x
        covariance = np.einsum("mb,mb->b", weighted, rank_y)
        variance_x = np.einsum("mb,mb->b", weighted, rank_x)
        variance_y = np.einsum("mb,mb,mb->b", counts, rank_y, rank_y)
        correlations[:, q] = _ratio(covariance, variance_x * variance_y)
    return correlations


def resampled_pearson(x: Array, y: Array, counts: Array) -> Array:
    """Return Pearson's correlation of each column of ``x`` with the same column of ``y`` in each resample.

    Arguments and result are those of :func:`resampled_spearman`.
    """
    drawn = counts.sum(axis=0)[:, None]
    # Subtracting the first unit makes a constant exactly zero; subtracting the mean as well avoids cancellation.
    x = x - x[:1]
    y = y - y[:1]
    x = x - x.mean(axis=0)
    y = y - y.mean(axis=0)
    sums_x, sums_y = counts.T @ x, counts.T @ y
    squares_x, squares_y = counts.T @ x**2, counts.T @ y**2
    covariance = counts.T @ (x * y) - sums_x * sums_y / drawn
    variance_x = squares_x - sums_x**2 / drawn
    variance_y = squares_y - sums_y**2 / drawn
    # In a resample that repeats a single unit, the variance consists of rounding errors alone.
    variance_x[variance_x <= 1e-12 * squares_x] = 0.0
    variance_y[variance_y <= 1e-12 * squares_y] = 0.0
    return _ratio(covariance, variance_x * variance_y)


def _ratio(covariance: Array, variance_product: Array) -> Array:
    defined = variance_product > 0
    return np.where(defined, covariance / np.sqrt(np.where(defined, variance_product, 1.0)), 0.0)
