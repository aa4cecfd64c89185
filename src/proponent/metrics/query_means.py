"""Metrics that are a mean over queries, or over other units such as copies: value and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
