"""Detection of corrupted labels: how well a method's most suspicious examples match those with a flipped label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import check_whole, flags, numbers, score_matrix
from proponent.metrics.statistics import draw_counts
from proponent.metrics.tied_rankings import average_precision, chance_average_precision
from proponent.seeds import derive_seed

NEEDS = ("noisy_labels",)

INSPECTED = (5, 10, 20, 30)
"""Percentages of the training set to inspect, most suspicious examples first."""

_AT_A_TIME = 64
"""Resamples per batch, which bounds the memory."""


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``mislabel_auc``, ``mislabel_ap`` and ``mislabel_found_5``, ``_10``, ``_20``, ``_30``.

    The badness of an example is its self-influence if the method has one that differs between examples,
    otherwise minus its mean score over queries: an example that lowers most targets is suspicious. The AUC is
    the area under the ROC curve with flipped labels as positives (ties count half). ``mislabel_ap`` is the average
    precision: the area under the precision-recall curve, which depends more on the first examples that somebody
    would inspect; ties have their expected value. ``mislabel_found_p`` is the share of all flipped labels found
    among the p % of examples with the largest badness; a tie across the cut counts in proportion. Intervals are
    over examples; flipped and clean examples are resampled separately.

    Args:
        inputs: scores, self-influence if any, and the mask of flipped labels.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Estimates by name. Their extras: ``badness``, by what the examples are ordered; ``chance``, the value of a random
        order; ``best``, the largest possible value; ``n_flipped`` and ``n_train``.

    Raises:
        UserError: scores or self-influence of the wrong shape or not finite; no flipped or no clean label.
    """
    if inputs.noisy_labels is None:
        raise UserError(
            "metric mislabel: the setting has no noisy labels; give it a label_noise or leave the metric out"
        )
    flipped = inputs.noisy_labels.astype(bool)
    if flipped.all() or not flipped.any():
        raise UserError(
            f"metric mislabel: {flipped.sum()} of {flipped.size} labels are flipped; "
            "it needs both flipped and clean labels"
        )
    badness, source = suspicion(inputs, len(flipped))
    columns = _resampled(badness, flipped, resamples, seed)
    n_flipped, n_train = int(flipped.sum()), len(flipped)
    extras: dict[str, Any] = {"badness": source, "n_flipped": n_flipped, "n_train": n_train}
    limits = {
        "mislabel_auc": {"chance": 0.5, "best": 1.0},
        "mislabel_ap": {"chance": chance_average_precision(n_flipped, n_train), "best": 1.0},
    } | {
        f"mislabel_found_{percent}": {
            "chance": percent / 100,
            "best": min(1.0, percent / 100 * n_train / n_flipped),
        }
        for percent in INSPECTED
    }
    return {
        name: Estimate.from_replicates(column[0], column[1:], bounds=(0.0, 1.0), extras={**extras, **own})
        for (name, own), column in zip(limits.items(), columns.T, strict=True)
    }


def mislabel_of_arrays(
    scores: ArrayLike,
    noisy_labels: ArrayLike,
    *,
    self_influence: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return how well scores that were computed anywhere find wrong labels (Koh & Liang, 2017, section 5.4).

    An example is suspicious if its self-influence is large, or, without self-influence, if it lowers most targets.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        noisy_labels: (n_train,), True = the label is known to be wrong.
        self_influence: (n_train,), large = suspicious; without it, or where it is constant, minus the mean score is used.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Returns:
        Estimates by name, each in [0, 1] with its 95 % bootstrap interval over examples. ``mislabel_auc`` is the area under
        the ROC curve with wrong labels as positives (0.5 for chance) and ``mislabel_ap`` that under the precision-recall
        curve; ``mislabel_found_5``, ``_10``, ``_20`` and ``_30`` are the shares of the wrong labels among the 5, 10, 20 and
        30 % most suspicious examples.

    Raises:
        UserError: shapes do not fit, values are not finite, all labels or none are wrong, or ``noisy_labels`` are
            neither True and False nor 1 and 0.

    Examples:
        >>> import proponent
        >>> scores = [[1.0, 0.5, -0.5, 0.0], [0.2, 0.1, -0.9, 0.3]]
        >>> found = proponent.metrics.mislabel(scores, noisy_labels=[False, False, True, False])
        >>> found["mislabel_auc"].value
        1.0
    """
    check_whole(resamples, "resamples")
    found = score_matrix(scores)
    wrong = flags(noisy_labels, found.shape[1:], "noisy_labels", "examples whose label is known to be wrong")
    own = None if self_influence is None else numbers(self_influence, "self_influence")
    inputs = MetricInputs(found, own, noisy_labels=wrong)
    return evaluate(inputs, resamples=resamples, seed=seed)


def suspicion(inputs: MetricInputs, n_train: int) -> tuple[Array, str]:
    """Return how suspicious each example is, (n_train,), and what the values are: ``self-influence`` or ``mean score``.

    Raises:
        UserError: scores or self-influence of the wrong shape or not finite.
    """
    check_scores(inputs.scores, len(inputs.scores), n_train)
    mean_score = -inputs.scores.astype(np.float64).mean(axis=0), "mean score"
    if inputs.self_influence is None:
        return mean_score
    if inputs.self_influence.shape != (n_train,):
        raise UserError(
            f"self_influence: expected shape (n_train,) = ({n_train},), "
            f"found {tuple(inputs.self_influence.shape)}"
        )
    bad = ~np.isfinite(inputs.self_influence)
    if bad.any():
        raise UserError(
            f"self_influence: {bad.sum()} of {n_train} values are NaN or infinite, "
            f"the first at example {np.argmax(bad)}"
        )
    if np.ptp(inputs.self_influence) == 0:  # for example the cosine of each gradient with itself
        return mean_score
    return inputs.self_influence.astype(np.float64), "self-influence"


def _resampled(badness: Array, flipped: NDArray[np.bool_], resamples: int, seed: int) -> Array:
    """Return the AUC, the average precision and the shares found, per resample; the first row is the sample itself."""
    counts = {
        kind: np.vstack([np.ones(n), draw_counts(n, resamples, derive_seed(seed, "bootstrap", kind, n))])
        for kind, n in (("flipped", int(flipped.sum())), ("clean", int((~flipped).sum())))
    }
    # The curves depend only on the counts per group of equal badness, largest badness first.
    distinct, group = np.unique(-badness, return_inverse=True)
    starts = range(0, 1 + resamples, _AT_A_TIME)
    return np.concatenate(
        [
            values_of_counts(
                count_by_group(counts["flipped"][s : s + _AT_A_TIME], group[flipped], len(distinct)),
                count_by_group(counts["clean"][s : s + _AT_A_TIME], group[~flipped], len(distinct)),
            )
            for s in starts
        ]
    )


def count_by_group(counts: Array, group: NDArray[np.intp], n_groups: int) -> Array:
    """Return how many examples of each group each resample contains, (B, n_groups)."""
    sums = np.zeros((n_groups, len(counts)))
    np.add.at(sums, group, counts.T)
    return sums.T


def values_of_counts(flipped: Array, clean: Array) -> Array:
    """Return the AUC, the average precision and the shares found, (B, 2 + len(INSPECTED)), from counts (B, n_groups)."""
    zero = np.zeros((len(flipped), 1))
    found = np.hstack([zero, np.cumsum(flipped, axis=1)])
    passed = np.hstack([zero, np.cumsum(clean, axis=1)])
    n_flipped, n_clean = found[:, -1], passed[:, -1]
    area = (clean * (found[:, :-1] + found[:, 1:])).sum(axis=1) / 2
    inspected = found + passed
    budgets = np.asarray(INSPECTED)[None, :] / 100 * (n_flipped + n_clean)[:, None]
    shares = np.stack([np.interp(b, i, f) for b, i, f in zip(budgets, inspected, found, strict=True)])
    precision = average_precision(flipped, clean)
    return np.column_stack([area / (n_flipped * n_clean), precision, shares / n_flipped[:, None]])


make_callable(__name__, mislabel_of_arrays)
