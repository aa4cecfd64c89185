"""Cleaning: how much more accurate models are that are trained without the most suspicious examples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.plain_arrays import seeds_and_queries
from proponent.metrics.retrained_curves import (
    alive,
    chance_range,
    curve_estimate,
    mean_of_orders,
    refuse_without_seeds,
    retrained,
    utility,
)

NEEDS = ()
DESIGN = "suspects"


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``cleaning_gain_P`` for each percentage P of the examples that the design removes.

    The most suspicious examples are those of :func:`proponent.metrics.mislabel.evaluate`: with the largest self-influence,
    or, for a method without it, with the lowest mean score over the *tune* queries. The gain is the accuracy on the test
    queries after training without them minus that after training on all examples with the same seeds, averaged over seeds;
    the mean target takes the place of the accuracy where queries do not have one class each. The control removes as many
    random examples. The interval is over test queries and seeds.

    Args:
        inputs: retrainings on the masks of the method (``own``), and on all examples and random ones (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Estimates by name. Their extras: ``random``, the gain by the removal of random examples, and ``over_random``, the
        value minus that gain, with ``_low`` and ``_high``; ``chance_low`` and ``chance_high``, between which the gains of
        random removals fall (:func:`~proponent.metrics.retrained_curves.chance_range`); ``utility`` (``accuracy`` or
        ``target``), ``before`` and ``after``, its means with all examples and without the suspicious ones; ``n_removed``;
        ``n_diverged``; ``n_seeds``; ``n_queries`` and ``per_query``.

    Raises:
        UserError: the metric has no design, or all retrainings on a mask diverged.
    """
    own, shared = (retrained(inputs, "cleaning-gain", source) for source in ("own", "shared"))
    before = utility(shared, shared.rows["all"], "cleaning-gain")
    rows = own.rows["suspects"]
    after = utility(own, rows, "cleaning-gain")
    orders = utility(shared, shared.rows["random"], "cleaning-gain")
    random = mean_of_orders(orders)
    removed = (~own.masks[rows]).sum(axis=1)
    for change in (after - before, random - before):
        refuse_without_seeds(change, "cleaning-gain")
    found = {}
    for place, count in enumerate(removed.tolist()):
        extras: dict[str, Any] = {
            "utility": "target" if own.correct is None else "accuracy",
            "before": float(np.nanmean(before)),
            "after": float(np.nanmean(after[place])),
            **chance_range(
                np.nanmean(orders[:, place], axis=(-2, -1)), float(np.nanmean(random[place] - before))
            ),
            "n_removed": count,
            "n_diverged": int((~alive(own)).sum()),
            "n_seeds": own.targets.shape[1],
        }
        estimate = curve_estimate(
            {"suspects": (after[place] - before)[None], "random": (random[place] - before)[None]},
            {"suspects": 1.0},
            np.ones(1),
            resamples=resamples,
            seed=seed,
        )
        kept = {name: value for name, value in estimate.extras.items() if not name.startswith("curve_")}
        name = f"cleaning_gain_{100 * count / own.masks.shape[1]:.0f}"
        found[name] = Estimate(
            estimate.value, estimate.ci_low, estimate.ci_high, estimate.replicates, kept | extras
        )
    return found


def cleaning_gain_of_arrays(
    before: ArrayLike, after: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how much better models are that were trained elsewhere without suspicious examples.

    Args:
        before: (n_seeds, n_query), or (n_query,) for one seed: 1 where a query is predicted correctly after training on all
            examples and 0 elsewhere, or another value that is larger for better models.
        after: the same with the same seeds after training without the suspicious examples; NaN where it diverged.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the orders of several methods, or of random examples.

    Returns:
        The mean gain over seeds and queries, and its 95 % bootstrap interval over queries, and over seeds if there are
        several.

    Raises:
        UserError: the shapes differ, or the arguments are not numbers.

    Examples:
        >>> import proponent
        >>> found = proponent.metrics.cleaning_gain(before=[[1, 0, 0, 1]], after=[[1, 1, 0, 1]])
        >>> found.value
        0.25
    """
    first = seeds_and_queries(before, "before")
    second = seeds_and_queries(after, "after", like=first.shape)
    gains = (second - first)[None]
    refuse_without_seeds(gains, "cleaning-gain")
    return curve_estimate(
        {"gain": gains},
        {"gain": 1.0},
        np.ones(1),
        resamples=resamples,
        seed=seed,
        extras={"n_seeds": len(first)},
    )


make_callable(__name__, cleaning_gain_of_arrays)
