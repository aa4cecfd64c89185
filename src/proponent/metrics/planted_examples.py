"""Ranking of planted examples by the scores of single queries, and by the mean scores of a few reference queries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import check_whole, flags, score_matrix
from proponent.metrics.query_means import count_constant, mean_estimate
from proponent.metrics.tied_rankings import average_precision, chance_average_precision, tied_groups


def truth_of_both(inputs: MetricInputs, name: str, metric: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what a dataset factory states of the training examples, (n_train,), and of the queries, (n_query,).

    Args:
        inputs: inputs of the metric.
        name: name of the truth.
        metric: name of the metric, for the message.

    Raises:
        UserError: the setting does not state one of the two.
    """
    for key in (name, f"{name}_queries"):
        if key not in inputs.planted:
            raise UserError(
                f"metric {metric}: the setting states no truth '{key}' (planted.given: [{name}]); return it from the "
                "dataset factory or leave the metric out"
            )
    return inputs.planted[name], inputs.planted[f"{name}_queries"]


def planted_estimates(
    scores: NDArray[np.floating],
    planted: NDArray[np.bool_],
    *,
    opponents: bool,
    references: int,
    resamples: int,
    seed: int,
    metric: str,
) -> dict[str, Estimate]:
    """Return ``METRIC_auprc``, for single queries, and ``METRIC_group_auprc``, for sets of reference queries.

    The latter is left out with fewer than two sets. Arguments and errors are those of :func:`planted_auprc` and
    :func:`group_auprc`.
    """
    found = {
        f"{metric}_auprc": planted_auprc(
            scores, planted, opponents=opponents, resamples=resamples, seed=seed, metric=metric
        )
    }
    if len(scores) >= 2 * references:
        found[f"{metric}_group_auprc"] = group_auprc(
            scores,
            planted,
            references=references,
            opponents=opponents,
            resamples=resamples,
            seed=seed,
            metric=metric,
        )
    return found


def planted_of_arrays(
    scores: ArrayLike,
    planted: ArrayLike,
    *,
    opponents: bool,
    references: int | None,
    resamples: int,
    seed: int,
    metric: str,
) -> Estimate:
    """Return one of the two estimates of :func:`planted_estimates` for scores that were computed anywhere.

    Args:
        scores: (n_query, n_train) of queries that the planted examples affect.
        planted: (n_train,), True = planted.
        opponents: whether the planted examples lower the targets.
        references: number of reference queries per set; None for single queries.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        metric: name of the metric, for messages.
    """
    found = score_matrix(scores)
    marked = flags(planted, found.shape[1:], "planted", "planted examples")
    if references is None:
        return planted_auprc(
            found, marked, opponents=opponents, resamples=resamples, seed=seed, metric=metric
        )
    check_whole(references, f"metric {metric}: references")
    return group_auprc(
        found,
        marked,
        references=references,
        opponents=opponents,
        resamples=resamples,
        seed=seed,
        metric=metric,
    )


def ranked_auprc(values: NDArray[np.floating], planted: NDArray[np.bool_]) -> Array:
    """Return the average precision of each row of ``values`` (m, n_train) with the planted examples as positives, (m,)."""
    return np.array([average_precision(*tied_groups(row, planted))[0] for row in values])


def planted_auprc(
    scores: NDArray[np.floating],
    planted: NDArray[np.bool_],
    *,
    opponents: bool,
    resamples: int,
    seed: int,
    metric: str,
) -> Estimate:
    """Return the mean over queries of the area under the precision-recall curve, planted examples being the positives.

    Ties have their expected value. The interval is over queries; which examples are planted belongs to the setting.

    Args:
        scores: (n_query, n_train) of the queries that the planted examples affect.
        planted: (n_train,), True = planted.
        opponents: the planted examples lower the targets of these queries, and are looked for among the opponents.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        metric: name of the metric, for messages.

    Returns:
        The estimate. Its extras: ``chance``, the value of a random ranking; ``n_planted``; ``n_constant_scores`` queries
        whose scores are all equal, which have the value of chance; ``n_queries`` and ``per_query``.

    Raises:
        UserError: scores of the wrong shape or not finite; no query; no example or every example is planted.
    """
    check_planted(scores, planted, metric)
    per_query = ranked_auprc(-scores if opponents else scores, planted)
    return mean_estimate(
        per_query,
        resamples,
        seed,
        chance=chance_average_precision(int(planted.sum()), len(planted)),
        n_planted=int(planted.sum()),
        n_constant_scores=count_constant(scores),
    )


def group_auprc(
    scores: NDArray[np.floating],
    planted: NDArray[np.bool_],
    *,
    references: int,
    opponents: bool,
    resamples: int,
    seed: int,
    metric: str,
) -> Estimate:
    """Return how well the mean scores of a few reference queries find the whole planted group.

    The queries are divided, in their order, into disjoint sets of ``references``. The scores of a query are divided by their
    norm, so that no query outweighs the others of its set, and averaged over the set. The value is the area under the
    precision-recall curve, averaged over sets; the interval is over sets.

    Arguments, extras and errors are those of :func:`planted_auprc`, with ``n_sets`` in place of ``n_queries``; in addition,
    fewer queries than two sets need are an error.
    """
    check_planted(scores, planted, metric)
    n_sets = len(scores) // references
    if n_sets < 2:
        raise UserError(
            f"metric {metric}: {len(scores)} queries are affected by the planted examples, but two sets of {references} "
            "reference queries are needed; raise queries.test or lower references"
        )
    norms = np.linalg.norm(scores, axis=1, keepdims=True)
    scaled = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
    means = scaled[: n_sets * references].reshape(n_sets, references, -1).mean(axis=1)
    per_set = ranked_auprc(-means if opponents else means, planted)
    return mean_estimate(
        per_set,
        resamples,
        seed,
        units="sets",
        chance=chance_average_precision(int(planted.sum()), len(planted)),
        n_planted=int(planted.sum()),
        references=references,
        n_constant_scores=count_constant(scores),
    )


def check_planted(scores: NDArray[np.floating], planted: NDArray[np.bool_], metric: str) -> None:
    """Raise a UserError unless scores are finite and some, but not all, examples are planted."""
    if not len(scores):
        raise UserError(
            f"metric {metric}: no test query is affected by the planted examples; raise queries.test"
        )
    check_scores(scores, len(scores), len(planted))
    if planted.all() or not planted.any():
        raise UserError(
            f"metric {metric}: {planted.sum()} of {planted.size} examples are planted; it needs planted and other examples"
        )
