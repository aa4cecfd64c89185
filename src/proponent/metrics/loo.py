"""Leave-one-out correlation (Koh & Liang, 2017) between scores and the effects of leaving out single examples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.ceiling import ceiling
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs, Retrainings, check_scores
from proponent.metrics.plain_arrays import retrainings_of, score_matrix
from proponent.metrics.ranks import resampled_pearson, resampled_spearman
from proponent.metrics.statistics import draw
from proponent.metrics.usable_retrainings import usable_retrainings

NEEDS = ("ground_truth/loo",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``loo``: Spearman over the left-out examples between score and effect, averaged over queries.

    The effect of example i on query q is the mean over seeds of f(q; all examples, r) - f(q; all but i, r),
    the two with the same seed r. The interval is over left-out examples and queries jointly.

    Args:
        inputs: scores, and the ``loo`` ground truth: row 0 is trained on all examples, each other row on all
            but one.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``pearson`` with ``_low`` and ``_high``; ``ceiling`` of the Spearman
        correlation with ``_low`` and ``_high``, and the ``reliability`` over seeds from which it is computed
        (None with one seed); ``n_constant``, ``n_diverged`` and ``diverged`` ([row, seed]),
        ``n_examples``, ``n_seeds``, ``n_queries``, ``per_query``.

    Raises:
        UserError: scores of the wrong shape or not finite; a row that does not leave out exactly one example;
            too few usable retrainings.
    """
    truth = inputs.ground_truth["loo"]
    _, n_seeds, n_query = truth.targets.shape
    check_scores(inputs.scores, n_query, truth.masks.shape[1])
    examples = left_out(truth)
    diverged = np.argwhere(~np.isfinite(truth.targets).all(axis=2)).tolist()
    # If the full run of a seed diverged, all effects of that seed are NaN and are left out.
    usable = usable_retrainings(truth.targets[:1] - truth.targets[1:], "loo")
    scores = inputs.scores[:, examples[usable.subsets]].astype(np.float64).T
    joint = draw(len(usable.subsets), n_query, resamples, seed)

    per_query = resampled_spearman(scores, usable.mean, joint.units)
    means = joint.mean(per_query)
    linear = joint.mean(resampled_pearson(scores, usable.mean, joint.units))
    pearson = Estimate.from_replicates(linear[0], linear[1:], bounds=(-1.0, 1.0))
    limit = ceiling(usable.complete, joint.units[usable.complete_rows], joint)
    extras: dict[str, Any] = {
        "pearson": pearson.value,
        "pearson_low": pearson.ci_low,
        "pearson_high": pearson.ci_high,
        "ceiling": limit and limit.value,
        "ceiling_low": limit and limit.ci_low,
        "ceiling_high": limit and limit.ci_high,
        "reliability": limit and limit.extras["reliability"],
        "n_constant": int((np.ptp(scores, axis=0) == 0).sum()),
        "n_diverged": len(diverged),
        "diverged": diverged,
        "n_examples": len(examples),
        "n_seeds": n_seeds,
        "n_queries": n_query,
        "per_query": per_query[0].tolist(),
    }
    return {"loo": Estimate.from_replicates(means[0], means[1:], bounds=(-1.0, 1.0), extras=extras)}


def loo_of_arrays(
    scores: ArrayLike, masks: ArrayLike, targets: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return the leave-one-out correlation (Koh & Liang, 2017) of scores that were computed anywhere.

    The effect of an example on a query is the target after training on all examples, minus the target without the
    example, for the same seed, averaged over seeds. Spearman's rank correlation with the scores is computed over the
    examples that were left out. The value is its mean over queries.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        masks: (1 + n_left_out, n_train), True = kept: row 0 keeps all examples, each other row all but one.
        targets: (1 + n_left_out, n_seeds, n_query), or (1 + n_left_out, n_query), targets after retraining on each row.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The value in [-1, 1]; its 95 % bootstrap interval over examples and queries; and extras: ``pearson`` with
        ``_low`` and ``_high``, with several seeds the ``ceiling`` and the ``reliability``, and the values
        ``per_query``.

    Raises:
        UserError: shapes do not fit, scores are not finite, a row does not leave out exactly one example, or too few
            retrainings are usable.

    Examples:
        >>> import numpy as np, proponent
        >>> masks = np.vstack([np.ones(4), 1 - np.eye(4)])  # row 0 keeps all examples
        >>> effects = np.array([[1.0, 0.4, -0.3, 0.1]])
        >>> scores = np.array([[1.0, 0.5, -0.5, 0.0]])  # in the same order
        >>> proponent.metrics.loo(scores, masks, masks @ effects.T).value
        1.0
    """
    truth = {"loo": retrainings_of(masks, targets)}
    inputs = MetricInputs(score_matrix(scores), ground_truth=truth)
    return evaluate(inputs, resamples=resamples, seed=seed)["loo"]


def left_out(truth: Retrainings) -> NDArray[np.intp]:
    """Return the index of the example that each row after the first leaves out, (n_rows - 1,).

    Raises:
        UserError: the first row leaves out an example, or another row not exactly one.
    """
    missing = (~truth.masks).sum(axis=1)
    wrong = np.flatnonzero(missing != np.r_[0, np.ones(len(missing) - 1, dtype=int)])
    if len(wrong):
        raise UserError(
            f"ground truth 'loo': row {wrong[0]} leaves out {missing[wrong[0]]} examples; "
            "row 0 must keep all examples and every other row all but one; delete the file and run again"
        )
    return np.argmin(truth.masks[1:], axis=1)


make_callable(__name__, loo_of_arrays)
