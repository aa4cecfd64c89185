"""Counterfactual removal (Ilyas et al., 2022; Bae et al., 2024): retrain without the strongest proponents of a query."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs
from proponent.metrics.plain_arrays import flags, growing, seeds_and_queries
from proponent.metrics.retrained_curves import (
    alive,
    area_weights,
    curve_estimate,
    mean_over_seeds,
    retrained,
)

NEEDS = ()
DESIGN = "removal"
CONTROLS = ("random", "same_class", "similar")
"""Orders of removal with which the order by scores is compared: random examples, random examples of the query's class, and
the examples whose inputs are nearest."""


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``counterfactual_drop`` and, where queries have one class each, ``counterfactual_flips``.

    For each query, the k examples with the largest scores are left out, for several k, and the model is trained again with
    the same seeds as on all examples. The *drop* is the target after training on all examples minus the target without
    them. A retraining *flips* a query if the query was predicted correctly after training on all examples with that seed,
    and no longer is. Both are averaged over seeds, and then over k as the area below the curve over log k, divided by its
    width. The interval is over queries; it does not cover the seeds of the retrainings.

    Args:
        inputs: retrainings on the masks of the method (``own``) and on those of the controls (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Estimates by name. Their extras: ``sizes`` (numbers k); the curves and controls of
        :func:`~proponent.metrics.retrained_curves.curve_estimate`; ``n_diverged`` retrainings. Flips also have
        ``smallest_flip`` (per query, the smallest k that flips it for at least half of the seeds, None if none does) and
        ``share_flipped`` (share of the queries that some k flips).

    Raises:
        UserError: the metric has no design, or all retrainings on a mask diverged.
    """
    own, shared = (retrained(inputs, "counterfactual", source) for source in ("own", "shared"))
    rows = {"scores": (own, own.rows["scores"])}
    rows |= {name: (shared, shared.rows[name]) for name in CONTROLS if name in shared.rows}
    sizes = (~own.masks[own.rows["scores"][0]]).sum(axis=1)
    weights = area_weights(np.log(sizes))
    full = int(shared.rows["all"])
    common: dict[str, Any] = {
        "sizes": sizes.tolist(),
        "n_diverged": int((~alive(own)).sum()),
        "n_seeds": own.targets.shape[1],
    }
    drops = {name: _drops(*found, shared, full) for name, found in rows.items()}
    value = {"scores": 1.0}
    result = {
        "counterfactual_drop": curve_estimate(
            drops, value, weights, resamples=resamples, seed=seed, extras=common
        )
    }
    if own.correct is None or shared.correct is None:
        return result
    n_query = len(own.rows["scores"])
    predicted = alive(shared)[full][:, None] & shared.correct[full][:, :n_query]
    chosen = predicted.any(axis=0)
    if not chosen.any():
        return result
    flips = {
        name: _flips(found.correct, alive(found), some, predicted, chosen)
        for name, (found, some) in rows.items()
        if found.correct is not None
    }
    smallest = _smallest(flips["scores"], sizes)
    extras = common | {
        "smallest_flip": smallest,
        "share_flipped": float(np.mean([size is not None for size in smallest])),
    }
    result["counterfactual_flips"] = curve_estimate(
        flips, value, weights, resamples=resamples, seed=seed, bounds=(0.0, 1.0), extras=extras
    )
    return result


def _drops(
    retrainings: DerivedRetrainings, rows: NDArray[np.integer], shared: DerivedRetrainings, full: int
) -> Array:
    """Return the drop of the target, averaged over seeds, (n_sizes, n_query)."""
    queries = np.arange(len(rows))
    usable = alive(retrainings)[rows] & alive(shared)[full]
    without = retrainings.targets[rows, :, queries[:, None]]
    drop = shared.targets[full][:, queries].T[:, None] - without
    return mean_over_seeds(drop, usable, "counterfactual").T


def _flips(
    correct: NDArray[np.bool_],
    finished: NDArray[np.bool_],
    rows: NDArray[np.integer],
    predicted: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
) -> Array:
    """Return the share of seeds for which a query that was predicted correctly no longer is, (n_sizes, n_chosen).

    Args:
        correct: (n_masks, n_seeds, n_query), whether the query is predicted correctly after a retraining.
        finished: (n_masks, n_seeds), False for retrainings that diverged.
        rows: (n_query, n_sizes) rows of the retrainings without some examples.
        predicted: (n_seeds, n_query), whether the query is predicted correctly after training on all examples.
        chosen: (n_query,), whether it is for any seed.
    """
    queries = np.arange(len(rows))
    wrong = ~correct[rows, :, queries[:, None]]
    usable = finished[rows] & predicted.T[:, None]
    return mean_over_seeds(wrong[chosen].astype(np.float64), usable[chosen], "counterfactual").T


def _smallest(flips: Array, sizes: NDArray[np.integer]) -> list[int | None]:
    """Return, per query, the smallest size that flips it for at least half of the seeds; None if none does."""
    return [int(sizes[np.argmax(flipped)]) if flipped.any() else None for flipped in (flips >= 0.5).T]


def counterfactual_of_arrays(
    sizes: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    *,
    correct_before: ArrayLike | None = None,
    correct_after: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return what removals of proponents change, for retrainings that were made elsewhere.

    Args:
        sizes: (n_sizes,) numbers of examples that were removed, growing.
        before: (n_seeds, n_query), or (n_query,) for one seed: target of each query after training on all examples.
        after: (n_sizes, n_seeds, n_query), or (n_sizes, n_query): target of each query after training, with the same seed,
            without the query's own strongest proponents; NaN where a training diverged.
        correct_before: as ``before``, True where the query is predicted correctly; for the share of flips.
        correct_after: as ``after``, True where the query is predicted correctly.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the removals of several methods, or of random examples.

    Returns:
        Estimates by name with 95 % bootstrap intervals over queries: ``counterfactual_drop``, the drop of the target as the
        area below its curve over the logarithm of the size, divided by its width; and, where predictions are given,
        ``counterfactual_flips``, the same for the share of seeds for which a query that was predicted correctly no longer
        is. Their extra ``curve_scores`` has the points of the curve.

    Raises:
        UserError: shapes do not fit, sizes do not grow, one of the two arrays of predictions is missing, all seeds of a size
            diverged, or no query is predicted correctly before.

    Examples:
        >>> import proponent
        >>> found = proponent.metrics.counterfactual(sizes=[1, 10], before=[3.0, 1.0], after=[[2.0, 1.0], [-1.0, 0.0]])
        >>> found["counterfactual_drop"].value
        1.5
    """
    removed = growing(sizes, "sizes", np.inf)
    full = seeds_and_queries(before, "before")
    without = seeds_and_queries(after, "after", ("n_sizes",), full.shape)
    if len(without) != len(removed):
        raise UserError(f"after: expected one row for each of {len(removed)} sizes, found {len(without)}")
    usable = (np.isfinite(full) & np.isfinite(without)).swapaxes(
        1, 2
    )  # a retraining per size, seed and query
    drops = mean_over_seeds((full - without).swapaxes(1, 2), usable, "counterfactual")
    options: dict[str, Any] = {"resamples": resamples, "seed": seed, "extras": {"sizes": removed.tolist()}}
    weights, value = area_weights(np.log(removed)), {"scores": 1.0}
    found = {"counterfactual_drop": curve_estimate({"scores": drops}, value, weights, **options)}
    if correct_before is None and correct_after is None:
        return found
    if correct_before is None or correct_after is None:
        raise UserError("correct_before and correct_after: give both or none")
    right = _predictions(correct_before, "correct_before", (), full.shape)
    still = _predictions(correct_after, "correct_after", ("n_sizes",), without.shape)
    predicted = right & np.isfinite(full)
    chosen = predicted.any(axis=0)
    if not chosen.any():
        raise UserError("correct_before: no query is predicted correctly, so that none can flip")
    wrong = (~still).swapaxes(1, 2).astype(np.float64)[:, chosen]
    flips = mean_over_seeds(wrong, (usable & predicted.T)[:, chosen], "counterfactual")
    return found | {
        "counterfactual_flips": curve_estimate(
            {"scores": flips}, value, weights, bounds=(0.0, 1.0), **options
        )
    }


def _predictions(
    values: ArrayLike, name: str, axes: tuple[str, ...], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    return flags(seeds_and_queries(values, name, axes, shape), shape, name, "correct predictions")


make_callable(__name__, counterfactual_of_arrays)
