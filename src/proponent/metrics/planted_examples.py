"""Ranking of planted examples by the scores of single queries, and by the mean scores of a few reference queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import check_scores
from proponent.metrics.query_means import count_constant, mean_estimate
from proponent.metrics.tied_rankings import average_precision, chance_average_precision, tied_groups


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
