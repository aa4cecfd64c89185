"""Metrics that are a mean over queries, or over other units such as copies: value, interval and checks of arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.statistics import draw


def mean_estimate(
    per_unit: Array,
    resamples: int,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    units: str = "queries",
    **extras: Any,
) -> Estimate:
    """Return the mean over units, with a bootstrap interval over them.

    Args:
        per_unit: (n_units,) values.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; the same number of units gives the same resamples for every method and metric.
        bounds: smallest and largest possible value.
        units: name of the units, in the plural.
        **extras: further values by name.
    """
    weights = draw(1, len(per_unit), resamples, seed).queries
    means = weights @ per_unit
    own = {
        f"n_{units}": len(per_unit),
        **extras,
        "per_query" if units == "queries" else "per_unit": per_unit.tolist(),
    }
    return Estimate.from_replicates(float(per_unit.mean()), means[1:], bounds=bounds, extras=own)


def count_constant(scores: NDArray[np.floating]) -> int:
    """Return the number of rows in which all scores are equal."""
    return int((np.ptp(scores, axis=1) == 0).sum())


def check_k(k: int, n_train: int, metric: str) -> None:
    """Raise a UserError unless ``k`` examples can be chosen among ``n_train``."""
    if not 1 <= k <= n_train:
        raise UserError(f"metric {metric}: k is {k}, but there are {n_train} training examples; lower it")


def flags(values: ArrayLike, shape: tuple[int, ...], name: str, meaning: str) -> NDArray[np.bool_]:
    """Return an argument as booleans.

    Args:
        values: True and False, or 1 and 0.
        shape: expected shape.
        name: name of the argument, for the message.
        meaning: name of the examples or queries with the value True, in the plural.

    Raises:
        UserError: the shape or the values are others.
    """
    found = np.asarray(values)
    if found.shape != shape or not np.isin(found, (0, 1)).all():
        raise UserError(
            f"{name}: expected the shape {shape} with True for {meaning}, found the shape {found.shape}"
        )
    return found.astype(bool)


def labels_of(values: ArrayLike, count: int, name: str) -> NDArray[Any]:
    """Return one label per example or query.

    Raises:
        UserError: there are fewer or more.
    """
    found = np.asarray(values)
    if found.shape == (count, 1):
        found = found[:, 0]
    if found.shape != (count,):
        raise UserError(f"{name}: expected one label per row, ({count},), found the shape {found.shape}")
    return found
