"""Statistics of retrainings on derived masks: paired effects, curves over sizes, and intervals over queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from proponent.errors import UserError
from proponent.metrics.estimate import LEVEL, Array, Estimate, interval
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs
from proponent.metrics.statistics import draw, draw_counts
from proponent.seeds import derive_seed


def retrained(inputs: MetricInputs, metric: str, source: str) -> DerivedRetrainings:
    """Return the retrainings of a metric from one source, ``shared`` or ``own``.

    Raises:
        UserError: the metric was configured without a ``design``.
    """
    if source not in inputs.derived:
        raise UserError(
            f"metric {metric}: its YAML file has no 'design' of the right kind; see configs/metrics/{metric}.yaml"
        )
    return inputs.derived[source]


def alive(retrainings: DerivedRetrainings) -> NDArray[np.bool_]:
    """Return the retrainings that did not diverge, (n_masks, n_seeds)."""
    found: NDArray[np.bool_] = np.isfinite(retrainings.targets).all(axis=-1)
    return found


def mean_over_seeds(values: Array, usable: NDArray[np.bool_], metric: str) -> Array:
    """Return the mean over the last axis, of the usable seeds only.

    Args:
        values: (…, n_seeds).
        usable: (…, n_seeds), False for retrainings that diverged.
        metric: name of the metric, for messages.

    Raises:
        UserError: all retrainings of a mask diverged.
    """
    _refuse_unusable(usable, metric)
    return np.asarray(np.where(usable, values, 0.0).sum(axis=-1) / usable.sum(axis=-1))


def refuse_without_seeds(values: Array, metric: str) -> None:
    """Raise a UserError if all seeds of a mask diverged: NaN in (…, n_seeds, n_query)."""
    _refuse_unusable(np.asarray(np.isfinite(values).all(axis=-1)), metric)


def _refuse_unusable(usable: NDArray[np.bool_], metric: str) -> None:
    """Raise a UserError if no seed of a mask is usable, (…, n_seeds)."""
    some = usable.any(axis=-1)
    if not some.all():
        raise UserError(
            f"metric {metric}: all retrainings on {int((~some).sum())} of {some.size} masks diverged; lower the "
            "recipe's lr or raise design.seeds"
        )


def utility(retrainings: DerivedRetrainings, rows: NDArray[np.integer], metric: str) -> Array:
    """Return how good models are that were trained on some masks, (…, n_seeds, n_query), NaN where a training diverged.

    The utility is 1 where the query's label is predicted and 0 elsewhere, or the target where queries do not have one class
    each.

    Args:
        retrainings: retrainings on masks.
        rows: (…) rows of the masks.
        metric: name of the metric, for messages.

    Raises:
        UserError: all retrainings of a mask diverged.
    """
    values = retrainings.targets if retrainings.correct is None else retrainings.correct.astype(np.float64)
    usable = alive(retrainings)[rows]
    _refuse_unusable(usable, metric)
    return np.where(usable[..., None], values[rows], np.nan)


def mean_of_orders(values: Array) -> Array:
    """Return the mean over several random orders, (n_orders, …, n_seeds, n_query), of those that did not diverge.

    NaN where all orders of a seed diverged.
    """
    usable = np.isfinite(values).all(axis=-1, keepdims=True)
    counts = usable.sum(axis=0)
    summed = np.where(usable, values, 0.0).sum(axis=0)
    return np.where(counts > 0, summed / np.maximum(counts, 1), np.nan)


def chance_range(values: Array, center: float = 0.0) -> dict[str, float]:
    """Return ``chance_low`` and ``chance_high``: where 95 % of random choices of examples fall (prediction interval).

    An interval over queries does not cover the choice of the examples, by which models that were trained on random ones
    differ from each other.

    Args:
        values: (n_orders,) values of several random choices; with fewer than two the result is empty.
        center: value of chance.
    """
    if len(values) < 2:
        return {}
    factor = stdtrit(len(values) - 1, 1 - (1 - LEVEL) / 2)
    half = float(factor * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values)))
    return {"chance_low": center - half, "chance_high": center + half}


def area_weights(positions: Array) -> Array:
    """Return weights of points of a curve whose weighted sum is the area below it, divided by its width (trapezoids).

    Args:
        positions: (n_points,) growing positions; one point has the weight 1.
    """
    if len(positions) == 1:
        return np.ones(1)
    steps = np.diff(positions)
    weights = np.zeros(len(positions))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return np.asarray(weights / steps.sum())


def curve_estimate(
    curves: Mapping[str, Array],
    combination: Mapping[str, float],
    weights: Array,
    *,
    resamples: int,
    seed: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    extras: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return the area below a curve, averaged over queries and seeds, with an interval over both.

    Args:
        curves: curves by name: (n_points, n_query); or (n_points, n_seeds, n_query), NaN where a training diverged. Then
            resamples draw seeds as well, the same of all curves: the queries of a model share its noise.
        combination: factors by name of a curve: the value is the area below the sum of these curves. Every other curve is
            a control: the area below it is given as an extra, together with the value minus this area.
        weights: (n_points,) weights of the points.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds and numbers of queries pair the methods of a setting.
        bounds: smallest and largest possible value.
        extras: further values by name.

    Returns:
        The estimate. Its extras: ``per_query`` areas; per curve ``curve_NAME`` with ``_low`` and ``_high``, the points of
        the mean over queries with intervals; per control ``NAME`` and ``over_NAME``, with ``_low`` and ``_high``.
    """
    mean_of_seeds = {
        name: np.nanmean(curve, axis=1) if curve.ndim == 3 else curve for name, curve in curves.items()
    }
    per_query = np.sum(
        [factor * (weights @ mean_of_seeds[name]) for name, factor in combination.items()], axis=0
    )
    queries = draw(1, len(per_query), resamples, seed).queries
    sampled = {name: _resampled(curve, queries, seed) for name, curve in curves.items()}
    areas = {name: points @ weights for name, points in sampled.items()}
    values = np.sum([factor * areas[name] for name, factor in combination.items()], axis=0)
    found: dict[str, Any] = {}
    for name, points in sampled.items():
        ends = [interval(point[0], point[1:]) for point in points.T]
        found |= {
            f"curve_{name}": points[0].tolist(),
            f"curve_{name}_low": [low for low, _ in ends],
            f"curve_{name}_high": [high for _, high in ends],
        }
        if name not in combination:
            for entry, sample in ((name, areas[name]), (f"over_{name}", values - areas[name])):
                low, high = interval(sample[0], sample[1:])
                found |= {entry: float(sample[0]), f"{entry}_low": low, f"{entry}_high": high}
    found |= {"n_queries": len(per_query), "per_query": per_query.tolist(), **(extras or {})}
    return Estimate.from_replicates(values[0], values[1:], bounds=bounds, extras=found)


def _resampled(curve: Array, queries: Array, seed: int) -> Array:
    """Return the points of a curve, averaged over queries and seeds, on the sample itself and on every resample.

    Args:
        curve: (n_points, n_query), or (n_points, n_seeds, n_query) with NaN where a training diverged.
        queries: (1 + B, n_query) weights of the queries; the first row is the sample itself.
        seed: seed of the resamples of the seeds.

    Returns:
        (1 + B, n_points). A resample that draws only diverged seeds of a point has the mean over all others there.
    """
    if curve.ndim == 2:
        return np.asarray(queries @ curve.T)
    n_seeds = curve.shape[1]
    seeds = np.ones((len(queries), n_seeds))
    seeds[1:] = draw_counts(n_seeds, len(queries) - 1, derive_seed(seed, "bootstrap", "seeds", n_seeds))
    usable = np.asarray(np.isfinite(curve).all(axis=-1))
    means = np.einsum("bq,psq->bps", queries, np.where(usable[..., None], curve, 0.0), optimize=True)
    drawn = seeds[:, None] * usable
    drawn = np.where(drawn.any(axis=-1, keepdims=True), drawn, usable)
    return np.asarray((drawn * means).sum(axis=-1) / drawn.sum(axis=-1))
