"""Retrieval of a foreign domain: examples from another dataset are the proponents of queries from that dataset.

Training examples from another dataset carry one of the labels, and so do some queries (Bareeva et al., 2024, "Quanda",
mixed datasets). The queries can only have been learned from the foreign examples, which should come first.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.planted_examples import planted_estimates, planted_of_arrays, truth_of_both

NEEDS = ("planted/domain",)
RANGES = {"references": "[1, inf)"}


def evaluate(
    inputs: MetricInputs, *, references: int = 8, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``mixed_domain_auprc``, for single foreign queries, and ``mixed_domain_group_auprc``, for sets of them.

    Args:
        inputs: scores, and the planted truth ``domain``, which is not 0 for foreign examples and queries.
        references: number of reference queries per set.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: scores of the wrong shape or not finite; no foreign examples; too few foreign queries.
    """
    domain, of_queries = truth_of_both(inputs, "domain", "mixed_domain")
    return planted_estimates(
        inputs.scores[of_queries != 0],
        domain != 0,
        opponents=False,
        references=references,
        resamples=resamples,
        seed=seed,
        metric="mixed_domain",
    )


def mixed_domain_of_arrays(
    scores: ArrayLike,
    planted: ArrayLike,
    *,
    references: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return how well scores that were computed anywhere find examples that are the only source of some queries.

    Args:
        scores: (n_query, n_train) of these queries; positive = the example raises the query's target.
        planted: (n_train,), True = planted, such as an example from another dataset.
        references: number of reference queries whose mean scores rank the examples; None for every query by itself.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The area under the precision-recall curve in (0, 1], averaged over queries, or over sets of reference queries; its
        95 % bootstrap interval; and extras, among them ``chance``, the value of a random ranking.

    Raises:
        UserError: shapes do not fit, scores are not finite, no example or every example is planted, or there are fewer
            queries than two sets need.

    Examples:
        >>> import proponent
        >>> scores = [[0.4, 0.9, 0.3, 0.7], [0.1, 0.2, 0.3, 0.1]]
        >>> proponent.metrics.mixed_domain(scores, planted=[False, True, False, False]).value
        0.75
    """
    return planted_of_arrays(
        scores,
        planted,
        opponents=False,
        references=references,
        resamples=resamples,
        seed=seed,
        metric="mixed_domain",
    )


make_callable(__name__, mixed_domain_of_arrays)
