"""Detection of shortcuts: the stamped examples of a class are opponents of stamped queries of other classes.

Training examples of one class carry a patch, and so do some queries of other classes. A model that has learned the shortcut
predicts the class of the patch, so the stamped examples lower the margin of the query's own label (Bareeva et al., 2024,
"Quanda", shortcut detection). Unlike there, all stamped queries count, whether or not the patch changed the prediction: a
choice by predictions would depend on the member of the ensemble.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.planted_examples import planted_estimates, planted_of_arrays

NEEDS = ("planted/shortcut",)
RANGES = {"references": "[1, inf)"}


def evaluate(
    inputs: MetricInputs, *, references: int = 8, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``shortcut_auprc``, for single stamped queries, and ``shortcut_group_auprc``, for sets of them.

    The second is the search for a small planted group from a few reference queries, which is the filtering task of DATE-LM.

    Args:
        inputs: scores, and the planted truth ``shortcut``.
        references: number of reference queries per set.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: scores of the wrong shape or not finite; no planted shortcut; too few stamped queries.
    """
    if "shortcut" not in inputs.planted:
        raise UserError(
            "metric shortcut: the setting has no planted.shortcut; add it or leave the metric out"
        )
    return planted_estimates(
        inputs.scores[inputs.planted["shortcut_queries"]],
        inputs.planted["shortcut"],
        opponents=True,
        references=references,
        resamples=resamples,
        seed=seed,
        metric="shortcut",
    )


def shortcut_of_arrays(
    scores: ArrayLike,
    planted: ArrayLike,
    *,
    opponents: bool = True,
    references: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return how well scores that were computed anywhere find planted examples: the area under the precision-recall curve.

    Args:
        scores: (n_query, n_train) of queries that the planted examples affect; positive = the example raises the query's
            target.
        planted: (n_train,), True = planted.
        opponents: whether the planted examples lower the targets, as those with a shortcut lower the margin of the
            query's own label; with False they are looked for among the proponents.
        references: number of reference queries whose mean scores rank the examples; None for every query by itself.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The mean over queries in (0, 1], 1 if all planted examples come first; its 95 % bootstrap interval over queries,
        or over sets of reference queries; and extras, among them ``chance``, the value of a random ranking.

    Raises:
        UserError: shapes do not fit, scores are not finite, no example or every example is planted, or there are fewer
            queries than two sets need.

    Examples:
        >>> import proponent
        >>> scores = [[0.4, -0.9, 0.3, -0.7], [0.1, -0.2, -0.3, -0.1]]
        >>> proponent.metrics.shortcut(scores, planted=[False, True, False, False]).value
        0.75
    """
    return planted_of_arrays(
        scores,
        planted,
        opponents=opponents,
        references=references,
        resamples=resamples,
        seed=seed,
        metric="shortcut",
    )


make_callable(__name__, shortcut_of_arrays)
