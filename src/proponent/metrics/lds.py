"""Linear data-modelling score (Park et al., 2023): rank correlation of summed scores with retrainings on subsets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.metrics.ceiling import additive_ceiling, ceiling
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs, Retrainings, check_scores
from proponent.metrics.plain_arrays import retrainings_of, score_matrix
from proponent.metrics.ranks import resampled_spearman
from proponent.metrics.statistics import Resamples, draw
from proponent.metrics.usable_retrainings import Usable, usable_retrainings

NEEDS = ("ground_truth/subsets",)
MAY_USE = ("ground_truth/complements",)

MIN_CEILING = 0.3
"""Smallest ceiling for which ``lds_over_ceiling`` is given; a lower ceiling may be noise, not to be divided by."""


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``lds``: :func:`score` on the design ``subsets``, with an additive ceiling from ``complements``."""
    return {"lds": score(inputs, "subsets", resamples, seed, complements="complements")}


def lds_of_arrays(
    scores: ArrayLike, masks: ArrayLike, targets: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return the linear data-modelling score (Park et al., 2023) of scores that were computed anywhere.

    For each query, the scores of the examples that a subset keeps are summed, and Spearman's rank correlation with the
    target after retraining on the subset is computed over the subsets. The value is its mean over queries.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        masks: (n_subsets, n_train), True = the example was kept.
        targets: (n_subsets, n_seeds, n_query), or (n_subsets, n_query), targets after retraining on each subset; NaN where
            a retraining diverged.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The value in [-1, 1], 1 for a perfect prediction and 0 for chance; its 95 % bootstrap interval over subsets and
        queries; and extras: with several seeds the ``ceiling`` and ``lds_over_ceiling`` with ``_low`` and ``_high``,
        the values ``per_query``, ``n_diverged`` retrainings that were left out, and ``n_constant`` queries that count
        as 0.

    Raises:
        UserError: shapes do not fit, scores are not finite, or too few retrainings are usable.

    Examples:
        >>> import numpy as np, proponent
        >>> masks = np.random.default_rng(0).random((50, 4)) < 0.5
        >>> effects = np.array([[1.0, 0.4, -0.3, 0.1]])  # of each example on the target
        >>> scores = np.array([[1.0, 0.5, -0.5, 0.0]])
        >>> lds = proponent.metrics.lds(scores, masks, masks @ effects.T)
        >>> print(f"{lds.value:.3f} [{lds.ci_low:.3f}, {lds.ci_high:.3f}]")
        0.973 [0.954, 0.985]
    """
    truth = {"masks": retrainings_of(masks, targets)}
    return score(MetricInputs(score_matrix(scores), ground_truth=truth), "masks", resamples, seed)


def score(
    inputs: MetricInputs, design: str, resamples: int, seed: int, complements: str | None = None
) -> Estimate:
    """Return how well the summed scores of the kept examples rank the target over subsets.

    For each query this is Spearman's correlation over subsets; the value is its mean over queries. The target
    is averaged over seeds. Ties get mid-ranks; a query whose prediction (or target) is the same for every
    subset counts as 0. The interval is over subsets and queries jointly; it does not cover the seeds of the
    ensemble from which the scores were computed. If the method predicts groups itself, its prediction
    replaces the sum.

    Args:
        inputs: scores, and the ground truth of ``design`` for the same queries.
        design: name of the design whose retrainings are predicted.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.
        complements: name of the design for the additive ceiling; used if the inputs contain it and the subsets
            of ``design`` are halves.

    Returns:
        The estimate. Its extras: ``ceiling`` and ``lds_over_ceiling``, each with ``_low`` and ``_high`` (None
        with one seed); ``ceiling_additive`` with ``_low`` and ``_high``, and ``additive_share``, if they are
        defined; ``n_constant`` and ``n_constant_targets`` queries counted as 0; ``n_diverged``
        retrainings left out and which (``diverged``: [subset, seed]); ``n_subsets``, ``n_seeds``,
        ``n_queries``; ``per_query`` values.

    Raises:
        UserError: scores of the wrong shape or not finite; too few usable retrainings.
    """
    truth = inputs.ground_truth[design]
    n_subsets, n_seeds, n_query = truth.targets.shape
    check_scores(inputs.scores, n_query, truth.masks.shape[1])
    usable = usable_retrainings(truth.targets, design)
    masks = truth.masks[usable.subsets]
    predicted = inputs.groups(masks) if inputs.groups else predict(inputs.scores, masks)
    joint = draw(len(usable.subsets), n_query, resamples, seed)

    per_query = correlations(predicted, usable, joint.units)
    means = joint.mean(per_query)
    limit = ceiling(usable.complete, joint.units[usable.complete_rows], joint)
    pairs = inputs.ground_truth.get(complements) if complements else None
    extras: dict[str, Any] = {
        **_ceiling_extras(means, limit),
        **(
            _additive_extras(truth, usable, pairs, joint, seed)
            if pairs and limit and limit.value >= MIN_CEILING
            else {}
        ),
        "n_constant": int((np.ptp(predicted, axis=0) == 0).sum()),
        "n_constant_targets": int((np.ptp(usable.mean, axis=0) == 0).sum()),
        "n_diverged": len(usable.diverged),
        "diverged": usable.diverged,
        "n_subsets": n_subsets,
        "n_seeds": n_seeds,
        "n_queries": n_query,
        "per_query": per_query[0].tolist(),
    }
    return Estimate.from_replicates(means[0], means[1:], bounds=(-1.0, 1.0), extras=extras)


def correlations(predicted: Array, usable: Usable, counts: Array) -> Array:
    """Return Spearman's correlation of predicted and retrained targets over subsets, per resample and query.

    Args:
        predicted: (m, n_query), for the usable subsets.
        usable: the retrainings.
        counts: (m, B), how often each subset occurs in each resample.

    Returns:
        (B, n_query).
    """
    return resampled_spearman(predicted, usable.mean, counts)


def quick(predicted: Array, usable: Usable) -> float:
    """Return the value of the LDS alone, without its interval and ceiling: the criterion of tuning.

    Arguments are those of :func:`correlations`.
    """
    return float(correlations(predicted, usable, np.ones((len(predicted), 1))).mean())


def predict(scores: NDArray[np.floating], masks: NDArray[np.bool_]) -> Array:
    """Return the summed scores of the kept examples, (n_subsets, n_query).

    Scores are rounded to float32, their type on disk, and summed in float64: such sums are exact unless the
    scores of a query span more than eight orders of magnitude, so that equal predictions tie whatever the
    order of summation.
    """
    return masks.astype(np.float64) @ scores.astype(np.float32).astype(np.float64).T


def _ceiling_extras(lds: Array, limit: Estimate | None) -> dict[str, float | None]:
    if limit is None:
        return dict.fromkeys(
            f"{name}{end}" for name in ("ceiling", "lds_over_ceiling") for end in ("", "_low", "_high")
        )
    extras: dict[str, float | None] = {
        "ceiling": limit.value,
        "ceiling_low": limit.ci_low,
        "ceiling_high": limit.ci_high,
    }
    ratio = None
    if limit.value >= MIN_CEILING:
        ratio = Estimate.from_replicates(
            lds[0] / limit.value, lds[1:] / np.maximum(limit.replicates, MIN_CEILING / 3)
        )
    extras["lds_over_ceiling"] = ratio.value if ratio else None
    extras["lds_over_ceiling_low"] = ratio.ci_low if ratio else None
    extras["lds_over_ceiling_high"] = ratio.ci_high if ratio else None
    return extras


def _additive_extras(
    truth: Retrainings, usable: Usable, complements: Retrainings, joint: Resamples, seed: int
) -> dict[str, float]:
    n_train = truth.masks.shape[1]
    if (truth.masks.sum(axis=1) != n_train // 2).any():
        return {}
    pairs = complements.targets.reshape(-1, 2, *complements.targets.shape[1:]).astype(np.float64)
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2, 3))]
    limit = additive_ceiling(usable.complete, joint.units[usable.complete_rows], pairs, joint, seed)
    if limit is None:
        return {}
    return {
        "ceiling_additive": limit.value,
        "ceiling_additive_low": limit.ci_low,
        "ceiling_additive_high": limit.ci_high,
        "additive_share": limit.extras["share"],
    }


make_callable(__name__, lds_of_arrays)
