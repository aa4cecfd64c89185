"""Retrieval of duplicates: a copy and its original affect every query alike, so their columns of scores should agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs, check_scores
from proponent.metrics.plain_arrays import check_k, numbers, score_matrix
from proponent.metrics.query_means import mean_estimate
from proponent.metrics.tied_rankings import inclusion, reciprocal_rank, tied_groups

NEEDS = ("planted/duplicates",)
RANGES = {"k": "[1, inf)"}

_DECIMALS = 9
"""Decimals of a cosine: columns that are equal except for rounding errors tie."""


def evaluate(
    inputs: MetricInputs, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``duplicates_mrr`` and ``duplicates_recall_K``: whether a copy has the scores of its original.

    For each copy, the other training examples are ranked by the cosine of their scores over all queries with those of the
    copy. The first value is the mean reciprocal rank of the original, the second one the share of copies whose original
    is among the first ``k``. Methods whose scores depend on features alone reach 1; methods that learn from retrainings,
    or that follow batches, estimate the two columns separately. The interval is over copies. Near
    chance, the interval of a mean reciprocal rank is too narrow, because few ranks of 1 decide it: it covered the true value
    in 73 % of simulations with 100 copies.

    Args:
        inputs: scores, and the planted truth ``duplicate_of``.
        k: number of examples among which the original has to be.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Two estimates. Their extras: ``chance``, the value of a random ranking; ``n_copies``; ``n_constant_scores`` copies
        whose scores are 0 for every query, which have the value of chance.

    Raises:
        UserError: scores of the wrong shape or not finite; no planted duplicates.
    """
    if "duplicate_of" not in inputs.planted:
        raise UserError(
            "metric duplicates: the setting has no planted.duplicates; add it or leave the metric out"
        )
    return found_originals(inputs.scores, inputs.planted["duplicate_of"], k, resamples, seed)


def found_originals(
    scores: NDArray[np.floating], duplicate_of: NDArray[np.integer], k: int, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Return both estimates of :func:`evaluate`.

    Args:
        scores: (n_query, n_train).
        duplicate_of: (n_train,) row of the original of a copy, -1 for other examples.
        k: number of examples among which the original has to be.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
    """
    n_train = len(duplicate_of)
    check_scores(scores, len(scores), n_train)
    check_k(k, n_train - 1, "duplicates")
    copies = np.flatnonzero(duplicate_of >= 0)
    if not len(copies):
        raise UserError("metric duplicates: no example is a copy; raise planted.duplicates.fraction")
    scores = scores.astype(
        np.float64
    )  # the rounding of float32 would separate columns that are equal up to a factor
    norms = np.linalg.norm(scores, axis=0)
    columns = np.divide(scores, norms, out=np.zeros(scores.shape), where=norms > 0)
    ranks, recalls = np.empty(len(copies)), np.empty(len(copies))
    for place, copy in enumerate(copies):
        others = np.arange(n_train) != copy
        nearness = np.round(columns[:, copy] @ columns, _DECIMALS)[others]
        original = (np.arange(n_train) == duplicate_of[copy])[others]
        ranks[place] = reciprocal_rank(*tied_groups(nearness, original))
        recalls[place] = inclusion(nearness[None], k)[0, original].sum()
    constant = int((norms[copies] == 0).sum())

    def estimate(values: Array, chance: float) -> Estimate:
        return mean_estimate(
            values, resamples, seed, units="copies", chance=chance, k=k, n_constant_scores=constant
        )

    chance_rank = float((1 / np.arange(1, n_train)).mean())
    return {
        "duplicates_mrr": estimate(ranks, chance_rank),
        f"duplicates_recall_{k}": estimate(recalls, k / (n_train - 1)),
    }


def duplicates_of_arrays(
    scores: ArrayLike, duplicate_of: ArrayLike, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return whether scores that were computed anywhere treat an example and its copy alike.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        duplicate_of: (n_train,) row of the original of a copy, -1 for other examples.
        k: number of examples among which the original has to be.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        Estimates by name, each in [0, 1] with its 95 % bootstrap interval over copies: ``duplicates_mrr``, the mean
        reciprocal rank of the original when the other examples are ranked by the cosine of their columns with that of the
        copy, and ``duplicates_recall_K``, the share of copies whose original is among the first ``k``.

    Raises:
        UserError: shapes do not fit, scores are not finite, ``k`` is not a number of other examples, there is no copy, or an
            example is its own original.

    Examples:
        >>> import proponent
        >>> scores = [[1.0, 0.5, -0.5, 1.0], [0.2, 0.9, -0.9, 0.2]]
        >>> proponent.metrics.duplicates(scores, [-1, -1, -1, 0], k=1)["duplicates_recall_1"].value
        1.0
    """
    found, originals = score_matrix(scores), numbers(duplicate_of, "duplicate_of")
    n_train = found.shape[1]
    if originals.shape != (n_train,) or not np.isin(originals, np.arange(-1, n_train)).all():
        raise UserError(
            "duplicate_of: expected (n_train,), the row of the original of a copy and -1 for other examples"
        )
    own = np.flatnonzero(originals == np.arange(n_train))
    if len(own):
        raise UserError(
            f"duplicate_of: example {own[0]} is named as its own original; give the row of another example, or -1"
        )
    return found_originals(found, originals.astype(int), k, resamples, seed)


make_callable(__name__, duplicates_of_arrays)
