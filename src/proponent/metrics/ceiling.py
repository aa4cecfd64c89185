"""The correlation that a noise-free predictor could reach, given the seed noise of the ground truth."""

from __future__ import annotations

import numpy as np

from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.inputs import MIN_UNITS
from proponent.metrics.ranks import resampled_spearman
from proponent.metrics.statistics import Resamples


def ceiling(targets: Array, units: Array, resamples: Resamples) -> Estimate | None:
    """Return the attainable correlation from the split-half reliability over seeds, averaged over queries.

    Two halves of the seeds, each averaged, correlate by rho_h over subsets. Spearman and Brown (1910) step
    that up to the reliability of the mean over all seeds; a predictor that follows the expectation over seeds
    without error correlates with that mean by the square root of its reliability. An anticorrelation of
    halves counts as 0. Where the ceiling is low (below about .3) clipping and the root bias it, up or down:
    do not divide by it.

    Args:
        targets: (m, n_seeds, n_query) subsets with all their seeds; for the ``loo`` design, truths.
        units: (m, 1 + B) how often each of these subsets occurs in each resample; the first column is all
            ones.
        resamples: the joint resamples; their query weights are used.

    Returns:
        The estimate, with ``per_query`` and ``reliability`` in its extras; None with fewer than two seeds or
        three subsets.
    """
    m, n_seeds, _ = targets.shape
    if n_seeds < 2 or m < MIN_UNITS:
        return None
    halves = [
        resampled_spearman(targets[:, list(a)].mean(axis=1), targets[:, list(b)].mean(axis=1), units)
        for a, b in splits(n_seeds)
    ]
    reliability = spearman_brown(np.mean(halves, axis=0), n_seeds / (n_seeds // 2))
    attainable = np.sqrt(reliability)
    means = resamples.mean(attainable)
    return Estimate.from_replicates(
        means[0],
        means[1:],
        bounds=(0.0, 1.0),
        extras={"per_query": attainable[0].tolist(), "reliability": float(reliability[0].mean())},
    )


def splits(n_seeds: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return how to halve the seeds: the first half against the next, in each rotation that differs.

    Rotations use every seed equally often. An odd number of seeds leaves one out of each split.
    """
    half = n_seeds // 2
    rotations = half if n_seeds % 2 == 0 else n_seeds
    order = [[(start + k) % n_seeds for k in range(2 * half)] for start in range(rotations)]
    return [(tuple(o[:half]), tuple(o[half:])) for o in order]


def spearman_brown(correlation: Array, factor: float) -> Array:
    """Return the reliability of a measure ``factor`` times as long as those that correlate."""
    clipped = np.maximum(correlation, 0.0)
    return factor * clipped / (1 + (factor - 1) * clipped)
