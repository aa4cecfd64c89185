"""Share of the strongest proponents that are of the query's subclass, where training saw merged classes only."""

from __future__ import annotations

import numpy as np

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.same_class import class_precision, same_class_of_arrays

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


make_callable(__name__, same_class_of_arrays)
