"""Ceilings: the correlation that a noise-free predictor, or the best sum of scores, could reach on noisy ground truth."""

from __future__ import annotations

import numpy as np

from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.ranks import resampled_spearman
from proponent.metrics.statistics import Resamples, draw
from proponent.metrics.usable_retrainings import MIN_UNITS
from proponent.seeds import derive_seed


def ceiling(targets: Array, units: Array, resamples: Resamples) -> Estimate | None:
    """Return the attainable correlation from the split-half reliability over seeds, averaged over queries.

    Two halves of the seeds, each averaged, have the correlation rho_h over subsets. The formula of Spearman and
    Brown (1910) converts it to the reliability of the mean over all seeds; the correlation of that mean with a
    predictor that equals the expectation over seeds is the square root of this reliability. A negative
    correlation of the halves counts as 0. Where the ceiling is low (below about .3), clipping and the square
    root bias it in either direction: do not divide by it.

    Args:
        targets: (m, n_seeds, n_query) targets of the subsets whose seeds are complete; for the ``loo`` design,
            effects of the left-out examples.
        units: (m, 1 + B) how often each of these subsets occurs in each resample; the first column is all
            ones.
        resamples: the joint resamples; their query weights are used.

    Returns:
        The estimate, with ``per_query`` and ``reliability`` in its extras; None with fewer than two seeds or
        three subsets.
    """
    if not _can_be_halved(targets):
        return None
    reliability = _reliability(targets, units)
    attainable = np.sqrt(reliability)
    means = resamples.mean(attainable)
    return Estimate.from_replicates(
        means[0],
        means[1:],
        bounds=(0.0, 1.0),
        extras={"per_query": attainable[0].tolist(), "reliability": float(reliability[0].mean())},
    )


def additive_ceiling(
    targets: Array, units: Array, pairs: Array, resamples: Resamples, seed: int
) -> Estimate | None:
    """Return a bound on the correlation that a sum of scores can reach, from retrainings on complementary halves.

    Let u(S) be the centred rank of the expected target after training on half S. It is the sum of an odd part,
    (u(S) - u(S^c)) / 2, and an even part. The scores of a half sum to a constant minus the sum over the other half,
    so the ranks of any sum of scores are odd: their correlation with u is at most the square root of the odd part's
    share of the variance of u, which is ``(1 - Cov(u(S), u(S^c)) / Var u) / 2``. A target that is a monotone
    function of a sum has share 1. The odd part also contains interactions of three, five, ... examples, so the best
    sum may stay below the bound.

    Both correlations refer to models of one seed: of S with S^c over the pairs, and of S with itself over seeds
    (Spearman and Brown's formula, from the reliability). Each is averaged over queries before their ratio is taken.

    Args:
        targets: (m, n_seeds, n_query) as for :func:`ceiling`; every subset is a half of the training set.
        units: (m, 1 + B) as for :func:`ceiling`.
        pairs: (n_pairs, 2, n_seeds', n_query) targets of both halves of each pair.
        resamples: the joint resamples; their query weights are used. Pairs are resampled independently.
        seed: seed of the resamples of pairs.

    Returns:
        The estimate, with ``share`` in its extras; None with fewer than two seeds or three subsets or pairs, or
        where the subset has no effect on the target (single-seed correlation of 0).
    """
    if not _can_be_halved(targets) or len(pairs) < MIN_UNITS:
        return None
    drawn = draw(len(pairs), pairs.shape[-1], units.shape[1] - 1, derive_seed(seed, "complements")).units
    twice = np.concatenate([drawn, drawn])
    # The order of the two halves is arbitrary, so both are ranked as one sample.
    across = np.mean(
        [
            resampled_spearman(
                np.concatenate([pairs[:, 0, repeat], pairs[:, 1, repeat]]),
                np.concatenate([pairs[:, 1, repeat], pairs[:, 0, repeat]]),
                twice,
            )
            for repeat in range(pairs.shape[2])
        ],
        axis=0,
    )
    reliability = _reliability(targets, units)
    one_seed = resamples.mean(spearman_brown(reliability, 1 / targets.shape[1]))
    if one_seed[0] <= 0:
        return None
    ratio = resamples.mean(across) / np.maximum(one_seed, one_seed[0] / 3)
    share = np.clip((1 - ratio) / 2, 0.0, 1.0)
    means = resamples.mean(np.sqrt(reliability * share[:, None]))
    return Estimate.from_replicates(means[0], means[1:], bounds=(0.0, 1.0), extras={"share": float(share[0])})


def _can_be_halved(targets: Array) -> bool:
    return targets.shape[1] >= 2 and len(targets) >= MIN_UNITS


def _reliability(targets: Array, units: Array) -> Array:
    """Return the reliability of the mean over seeds, (1 + B, n_query)."""
    n_seeds = targets.shape[1]
    halves = [
        resampled_spearman(targets[:, list(a)].mean(axis=1), targets[:, list(b)].mean(axis=1), units)
        for a, b in splits(n_seeds)
    ]
    return spearman_brown(np.mean(halves, axis=0), n_seeds / (n_seeds // 2))


def splits(n_seeds: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the ways to halve the seeds: the first half and the next, in each distinct rotation of the seeds.

    The rotations use every seed equally often. With an odd number of seeds each split leaves one out.
    """
    half = n_seeds // 2
    rotations = half if n_seeds % 2 == 0 else n_seeds
    order = [[(start + k) % n_seeds for k in range(2 * half)] for start in range(rotations)]
    return [(tuple(o[:half]), tuple(o[half:])) for o in order]


def spearman_brown(correlation: Array, factor: float) -> Array:
    """Return the reliability of the mean of ``factor`` times as many seeds as in the two means that were correlated."""
    clipped = np.maximum(correlation, 0.0)
    return factor * clipped / (1 + (factor - 1) * clipped)
