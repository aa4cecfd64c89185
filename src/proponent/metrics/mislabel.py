"""Finding corrupted labels: are the examples that a method finds suspicious those whose label was flipped?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.statistics import draw_counts
from proponent.seeds import derive_seed

NEEDS = ("noisy_labels",)

INSPECTED = (10, 20, 30)
"""Per cent of the training set that one would look through, most suspicious first."""

_AT_A_TIME = 64


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``mislabel_auc`` and ``mislabel_found_10``, ``_20``, ``_30``.

    Badness is the self-influence where the method has one that differs between examples, otherwise minus the
    mean score over queries: an example that lowers most targets. The AUC is that of the ROC curve with flipped
    labels as positives (ties count half); ``mislabel_found_p`` is the share of flipped labels among the p %
    with the largest badness, where a tie across the cut is found in proportion. Intervals are over examples,
    flipped and clean ones resampled apart.

    Args:
        inputs: scores, self-influence if any, and which labels were flipped.
        resamples: number of bootstrap resamples.
        seed: of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: scores or self-influence of the wrong shape or not finite; no flipped or no clean label.
    """
    if inputs.noisy_labels is None:
        raise UserError(
            "metric mislabel: the setting has no noisy_labels; give it a label_noise or leave the metric out"
        )
    flipped = inputs.noisy_labels.astype(bool)
    if flipped.all() or not flipped.any():
        raise UserError(
            f"metric mislabel: {flipped.sum()} of {flipped.size} labels are flipped; "
            "it needs some that are and some that are not"
        )
    badness, source = _badness(inputs, len(flipped))
    columns = _resampled(badness, flipped, resamples, seed)
    extras: dict[str, Any] = {"badness": source, "n_flipped": int(flipped.sum()), "n_train": len(flipped)}
    auc = float(roc_auc_score(flipped, badness))
    estimates = {
        "mislabel_auc": Estimate.from_replicates(auc, columns[1:, 0], bounds=(0.0, 1.0), extras=extras)
    }
    for column, percent in enumerate(INSPECTED, start=1):
        found = columns[:, column]
        estimates[f"mislabel_found_{percent}"] = Estimate.from_replicates(
            found[0], found[1:], bounds=(0.0, 1.0), extras=extras
        )
    return estimates


def _badness(inputs: MetricInputs, n_train: int) -> tuple[Array, str]:
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
    if (
        np.ptp(inputs.self_influence) == 0
    ):  # the cosine of a gradient with itself tells no example from another
        return mean_score
    return inputs.self_influence.astype(np.float64), "self-influence"


def _resampled(badness: Array, flipped: NDArray[np.bool_], resamples: int, seed: int) -> Array:
    """Return AUC and shares found, (1 + resamples, 1 + len(INSPECTED)); the first row is the sample."""
    counts = {
        kind: np.vstack([np.ones(n), draw_counts(n, resamples, derive_seed(seed, "bootstrap", kind, n))])
        for kind, n in (("flipped", int(flipped.sum())), ("clean", int((~flipped).sum())))
    }
    # Examples in groups of equal badness, worst first: all that the curves need.
    distinct, group = np.unique(-badness, return_inverse=True)
    starts = range(0, 1 + resamples, _AT_A_TIME)
    return np.concatenate(
        [
            _curves(
                _by_group(counts["flipped"][s : s + _AT_A_TIME], group[flipped], len(distinct)),
                _by_group(counts["clean"][s : s + _AT_A_TIME], group[~flipped], len(distinct)),
            )
            for s in starts
        ]
    )


def _by_group(counts: Array, group: NDArray[np.intp], n_groups: int) -> Array:
    """Return the number drawn of each group, (B, n_groups)."""
    sums = np.zeros((n_groups, len(counts)))
    np.add.at(sums, group, counts.T)
    return sums.T


def _curves(flipped: Array, clean: Array) -> Array:
    """Return AUC and shares found, (B, 1 + len(INSPECTED)), from numbers by group, (B, n_groups)."""
    zero = np.zeros((len(flipped), 1))
    found = np.hstack([zero, np.cumsum(flipped, axis=1)])
    passed = np.hstack([zero, np.cumsum(clean, axis=1)])
    n_flipped, n_clean = found[:, -1], passed[:, -1]
    area = (clean * (found[:, :-1] + found[:, 1:])).sum(axis=1) / 2
    inspected = found + passed
    budgets = np.asarray(INSPECTED)[None, :] / 100 * (n_flipped + n_clean)[:, None]
    shares = np.stack([np.interp(b, i, f) for b, i, f in zip(budgets, inspected, found, strict=True)])
    return np.column_stack([area / (n_flipped * n_clean), shares / n_flipped[:, None]])
