"""Group influence (Koh et al., 2019): rank correlation of summed scores with the effects of leaving out whole groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.ceiling import ceiling
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.lds import predict
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs, check_scores
from proponent.metrics.plain_arrays import retrainings_of, score_matrix
from proponent.metrics.ranks import resampled_spearman
from proponent.metrics.retrained_curves import retrained
from proponent.metrics.statistics import draw
from proponent.metrics.usable_retrainings import usable_retrainings

NEEDS = ()
DESIGN = "groups"


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``group_influence_classes``, ``_clusters`` or ``_sources``, for the groups that the design leaves out.

    The effect of a group on a query is the target after training on all examples minus the target without the group, for the
    same seed, averaged over seeds. The prediction is the sum of the scores of the group. The value is Spearman's correlation
    over groups, averaged over queries; the interval is over groups and queries jointly.

    Args:
        inputs: scores, and retrainings without each group (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``ceiling`` with ``_low`` and ``_high`` (None with one seed); ``n_groups``, ``n_seeds``,
        ``n_queries``; ``n_constant`` and ``n_constant_targets`` queries that count as 0; ``n_diverged``; ``effect`` (mean
        absolute effect of a group) and ``per_query`` values.

    Raises:
        UserError: the metric has no design; scores of the wrong shape or not finite; too few usable retrainings.
    """
    truth = retrained(inputs, "group-influence", "shared")
    (by,) = (name for name in truth.rows if name != "all")
    rows, full = truth.rows[by], truth.targets[int(truth.rows["all"])]
    check_scores(inputs.scores, truth.targets.shape[2], truth.masks.shape[1])
    usable = usable_retrainings(full - truth.targets[rows], f"groups ({by})")
    predicted = _predicted(inputs, truth)[rows[usable.subsets]]
    joint = draw(len(usable.subsets), predicted.shape[1], resamples, seed)
    per_query = resampled_spearman(predicted, usable.mean, joint.units)
    means = joint.mean(per_query)
    limit = ceiling(usable.complete, joint.units[usable.complete_rows], joint)
    extras = {
        "ceiling": limit and limit.value,
        "ceiling_low": limit and limit.ci_low,
        "ceiling_high": limit and limit.ci_high,
        "effect": float(np.abs(usable.mean).mean()),
        "n_constant": int((np.ptp(predicted, axis=0) == 0).sum()),
        "n_constant_targets": int((np.ptp(usable.mean, axis=0) == 0).sum()),
        "n_diverged": len(usable.diverged),
        "n_groups": len(rows),
        "n_seeds": truth.targets.shape[1],
        "n_queries": predicted.shape[1],
        "per_query": per_query[0].tolist(),
    }
    estimate = Estimate.from_replicates(means[0], means[1:], bounds=(-1.0, 1.0), extras=extras)
    return {f"group_influence_{by}": estimate}


def _predicted(inputs: MetricInputs, truth: DerivedRetrainings) -> Array:
    """Return the predicted effect of leaving out what each mask leaves out, (n_masks, n_query)."""
    if inputs.groups is None:
        return predict(inputs.scores, ~truth.masks)
    kept = inputs.groups(truth.masks)
    return np.asarray(kept[int(truth.rows["all"])] - kept)


def group_influence_of_arrays(
    scores: ArrayLike, masks: ArrayLike, targets: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return whether summed scores rank the effects of leaving out groups, for retrainings that were made elsewhere.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        masks: (1 + n_groups, n_train), True = kept: row 0 keeps all examples, each other row leaves out a group.
        targets: (1 + n_groups, n_seeds, n_query), or (1 + n_groups, n_query), targets after retraining on each row; NaN
            where a retraining diverged.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        Spearman's correlation over groups of the summed scores with the effects, in [-1, 1], averaged over queries; its 95 %
        bootstrap interval over groups and queries; and extras, among them the ``ceiling`` with several seeds.

    Raises:
        UserError: shapes do not fit, scores are not finite, row 0 does not keep all examples, another row does, or
            too few retrainings are usable.

    Examples:
        >>> import numpy as np, proponent
        >>> groups = np.arange(6) // 2  # three groups of two examples
        >>> masks = np.vstack([np.ones(6), [groups != group for group in range(3)]])
        >>> effects = np.array([[3.0, 2.0, 1.0, 0.5, -1.0, -2.0]])
        >>> proponent.metrics.group_influence(effects, masks, masks @ effects.T).value
        1.0
    """
    truth = retrainings_of(masks, targets)
    missing = (~truth.masks).sum(axis=1)
    if missing[0] or not np.all(missing[1:]):
        raise UserError(
            "masks: expected a row that keeps all examples, and then rows that leave out a group each"
        )
    rows = {"all": np.array(0), "groups": np.arange(1, len(truth.masks))}
    derived = {"shared": DerivedRetrainings(truth.masks, truth.targets, rows)}
    inputs = MetricInputs(score_matrix(scores), derived=derived)
    return evaluate(inputs, resamples=resamples, seed=seed)["group_influence_groups"]


make_callable(__name__, group_influence_of_arrays)
