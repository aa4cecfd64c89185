"""Share of the strongest proponents that are of the query's subclass, where training saw merged classes only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.same_class import class_precision, precision_of_arrays

NEEDS = ("planted/subclass", "labels")
RANGES = {"k": "[1, inf)"}


def evaluate(
    inputs: MetricInputs, *, k: int = 10, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``subclass_K``: as :func:`proponent.metrics.same_class.evaluate`, for the classes before they were merged.

    ``chance_within_class`` of its extras is the value of a method that knows the merged labels and nothing else.

    Args:
        inputs: scores, the labels, and the planted truth ``subclass``.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: scores of the wrong shape or not finite; fewer than ``k`` examples; no planted subclasses.
    """
    truth = inputs.planted
    if "subclass" not in truth or inputs.labels is None:
        raise UserError(
            "metric subclass: the setting has no planted.subclass; add it or leave the metric out"
        )
    fine_train, fine_query = truth["subclass"], truth["subclass_queries"]
    found = class_precision(inputs.scores, fine_train, fine_query, k, resamples, seed, "subclass")
    y_train, y_query = inputs.labels
    same_label = y_query[:, None] == y_train[None, :]
    within = [
        (fine_train[row] == fine).mean()
        for row, fine in zip(same_label, fine_query, strict=True)
        if row.any()
    ]
    found.extras["chance_within_class"] = float(np.mean(within))
    return {f"subclass_{k}": found}


def subclass_of_arrays(
    scores: ArrayLike,
    labels: ArrayLike,
    query_labels: ArrayLike,
    *,
    k: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return how many of the strongest proponents have the subclass of the query, for scores that were computed anywhere.

    This is the identical subclass test (Hanawa et al., 2021) if the labels are finer than those on which the model was
    trained.

    Args:
        scores: (n_query, n_train); positive = the example raises the query's target.
        labels: (n_train,) subclass of each training example.
        query_labels: (n_query,) subclass of each query.
        k: number of proponents per query.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        The share in [0, 1]; its 95 % bootstrap interval over queries; and extras: ``chance``, the value of a random ranking,
        and ``best``, the largest possible value.

    Raises:
        UserError: shapes do not fit, scores are not finite, or ``k`` is not a number of examples.

    Examples:
        >>> import proponent
        >>> scores = [[0.9, 0.1, -0.5, 0.8], [0.2, -0.1, 0.7, 0.3]]
        >>> proponent.metrics.subclass(scores, [0, 1, 2, 2], [0, 2], k=1).value
        1.0
    """
    return precision_of_arrays(scores, labels, query_labels, k, resamples, seed, "subclass")


make_callable(__name__, subclass_of_arrays)
