"""Tail patch (Chang et al., 2024, "Scalable influence and fact tracing"): what one more step on the proponents teaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import DerivedRetrainings, MetricInputs
from proponent.metrics.plain_arrays import seeds_and_queries
from proponent.metrics.query_means import mean_estimate
from proponent.metrics.retrained_curves import (
    alive,
    curve_estimate,
    mean_over_seeds,
    retrained,
)

NEEDS = ()
DESIGN = "patch"
CONTROLS = ("random", "same_class", "similar")
"""Examples with which the proponents are compared: random ones, random ones of the query's class, and those whose inputs are
nearest."""


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``tail_patch``: the gain of a query's target by one optimiser step on its strongest proponents.

    Trained members take one step on the batch of the k examples with the largest scores for the query. The gain is the
    target after the step minus the target before, averaged over members and queries, in units of the target. Larger is
    better; the controls take the same step on other examples. The interval is over queries; it does not cover the choice of
    the members.

    Args:
        inputs: targets after steps on the proponents (``own``) and on the examples of controls (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: per control, ``NAME`` and ``over_NAME`` (the value minus that of the control) with ``_low``
        and ``_high``; ``k``; ``n_members``; ``n_diverged``; ``n_queries`` and ``per_query``.

    Raises:
        UserError: the metric has no design, or all steps on a mask diverged.
    """
    own, shared = (retrained(inputs, "tail-patch", source) for source in ("own", "shared"))
    gains = {"scores": _gains(own, "scores", shared)}
    gains |= {name: _gains(shared, name, shared) for name in CONTROLS if name in shared.rows}
    extras: dict[str, Any] = {
        "k": int(own.masks[own.rows["scores"][0]].sum()),
        "n_members": own.targets.shape[1],
        "n_diverged": int((~alive(own)).sum()),
    }
    found = curve_estimate(
        {name: values[None] for name, values in gains.items()},
        {"scores": 1.0},
        np.ones(1),
        resamples=resamples,
        seed=seed,
    )
    kept = {name: value for name, value in found.extras.items() if not name.startswith("curve_")}
    return {"tail_patch": Estimate(found.value, found.ci_low, found.ci_high, found.replicates, kept | extras)}


def _gains(steps: DerivedRetrainings, name: str, shared: DerivedRetrainings) -> Array:
    """Return the gain of each query's own target, averaged over members, (n_query,)."""
    rows, before = steps.rows[name], int(shared.rows["none"])
    queries = np.arange(len(rows))
    gain = steps.targets[rows, :, queries] - shared.targets[before][:, queries].T
    return mean_over_seeds(gain, alive(steps)[rows] & alive(shared)[before], "tail-patch")


def tail_patch_of_arrays(
    before: ArrayLike, after: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return the gain of targets by one optimiser step on the strongest proponents, for steps that were taken elsewhere.

    Args:
        before: (n_models, n_query), or (n_query,) for one model: target of each query under the trained model.
        after: target of each query after one step of this model on the query's own proponents; NaN where it diverged.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the steps on the proponents of several methods, or on random examples.

    Returns:
        The mean gain over models and queries in units of the target, larger = better, and its 95 % bootstrap interval over
        queries.

    Raises:
        UserError: the shapes differ, or the arguments are not numbers.

    Examples:
        >>> import proponent
        >>> found = proponent.metrics.tail_patch(before=[0.0, 1.0], after=[0.5, 2.0])
        >>> found.value
        0.75
    """
    first = seeds_and_queries(before, "before")
    second = seeds_and_queries(after, "after", like=first.shape)
    usable = np.isfinite(first) & np.isfinite(second)
    gains = mean_over_seeds((second - first).T, usable.T, "tail-patch")
    return mean_estimate(gains, resamples, seed, (-np.inf, np.inf), n_seeds=len(first))


make_callable(__name__, tail_patch_of_arrays)
