"""Coresets and pruning: accuracy after training on the most, or the least, valuable examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.errors import UserError
from proponent.metrics.estimate import Array, Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.plain_arrays import growing, numbers, seeds_and_queries
from proponent.metrics.retrained_curves import (
    alive,
    area_weights,
    chance_range,
    curve_estimate,
    mean_of_orders,
    refuse_without_seeds,
    retrained,
    utility,
)

NEEDS = ()
DESIGN = "coreset"


def evaluate(
    inputs: MetricInputs, *, name: str = "coreset", resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return ``coreset_keep_best`` and ``coreset_remove_best``.

    The value of an example is its mean score over the *tune* queries. The model is trained on the share with the largest
    values, on the share with the smallest values, and on random subsets of the same sizes; the utility of a training is its
    accuracy on the test queries, or the mean target where queries do not have one class each. ``coreset_keep_best`` is the
    utility of the most valuable examples minus that of random ones, and ``coreset_remove_best`` the utility of random
    examples minus that of the least valuable ones, which is what is left when the most valuable are removed. Each is
    averaged over seeds and over shares (area below the curve, divided by its width); 0 is chance, and larger is better. The
    interval is over test queries and seeds; it does not cover the choice of the random subsets. By how much random choices
    differ from each other is stated by ``chance_low`` and ``chance_high``.

    Args:
        inputs: retrainings on the masks of the method (``own``) and on random ones (``shared``).
        name: beginning of the names of the estimates, for a second design of the same kind.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Two estimates. Their extras: ``shares`` kept; ``utility`` (``accuracy`` or ``target``); ``all`` (utility after
        training on all examples); ``chance``, and with two or more random orders ``chance_low`` and ``chance_high`` of
        :func:`~proponent.metrics.retrained_curves.chance_range`; the curves of
        :func:`~proponent.metrics.retrained_curves.curve_estimate`; ``n_diverged``.

    Raises:
        UserError: the metric has no design, or all retrainings on a mask diverged.
    """
    own, shared = (retrained(inputs, "coreset", source) for source in ("own", "shared"))
    shares = own.masks[own.rows["best"]].mean(axis=1)
    curves = {kind: utility(own, own.rows[kind], "coreset") for kind in ("best", "worst")}
    weights = area_weights(shares)
    orders = utility(shared, shared.rows["random"], "coreset")
    curves["random"] = mean_of_orders(orders)
    extras = {
        "chance": 0.0,
        **chance_range(np.nanmean(orders, axis=(-2, -1)) @ weights),
        "shares": shares.tolist(),
        "utility": "target" if own.correct is None else "accuracy",
        "all": float(np.nanmean(utility(shared, shared.rows["all"], "coreset"))),
        "n_diverged": int((~alive(own)).sum()),
        "n_seeds": own.targets.shape[1],
    }
    return {
        f"{name}_{kind}": curve_estimate(
            {curve: curves[curve] for curve in combination},
            combination,
            weights,
            resamples=resamples,
            seed=seed,
            extras=extras,
        )
        for kind, combination in (
            ("keep_best", {"best": 1.0, "random": -1.0}),
            ("remove_best", {"random": 1.0, "worst": -1.0}),
        )
    }


def coreset_of_arrays(
    shares: ArrayLike, chosen: ArrayLike, random: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how much better models are that were trained elsewhere on chosen examples than on random ones.

    Args:
        shares: (n_shares,) shares of the training set that were kept, growing.
        chosen: (n_shares, n_seeds, n_query), or (n_shares, n_query) for one seed: 1 where a query is predicted correctly
            after training on the chosen examples and 0 elsewhere, or another value that is larger for better models; NaN
            where a training diverged.
        random: the same after training on as many random examples; (n_orders, n_shares, n_seeds, n_query) for several
            random orders, over which the mean is taken. With as many seeds as ``chosen`` they are the same seeds.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the choices of several methods.

    Returns:
        The area between both curves over the share, divided by its width, averaged over queries: above 0, the choice is
        better than chance. Its 95 % bootstrap interval over queries, and over seeds if there are several; and extras:
        ``curve_chosen`` and ``curve_random``, with ``_low`` and ``_high``.

    Raises:
        UserError: shapes do not fit, shares do not grow between 0 and 1, or all seeds of a share diverged.

    Examples:
        >>> import proponent
        >>> chosen, random = [[1, 0], [1, 1]], [[0, 0], [1, 0]]  # two shares, two queries
        >>> proponent.metrics.coreset([0.1, 0.5], chosen, random).value
        0.5
    """
    sizes = growing(shares, "shares", 1.0)
    kept = seeds_and_queries(chosen, "chosen", ("n_shares",))
    if len(kept) != len(sizes):
        raise UserError(f"chosen: expected one row for each of {len(sizes)} shares, found {len(kept)}")
    several = numbers(random, "random")
    orders = several if several.ndim == 4 and len(several) else [several]
    others = [seeds_and_queries(order, "random", ("n_shares",)) for order in orders]
    for other in others:
        if len(other) != len(kept) or other.shape[-1] != kept.shape[-1]:
            raise UserError(
                f"random: expected the shares and queries of chosen, {kept.shape}, found {other.shape}"
            )
    for some in (kept, *others):
        refuse_without_seeds(some, "coreset")
    # Different numbers of seeds are not paired, so that means over seeds are compared.
    if any(other.shape != kept.shape for other in others):
        kept, others = _mean(kept), [_mean(other) for other in others]
    curves = {"chosen": kept, "random": mean_of_orders(np.stack(others))}
    factors = {"chosen": 1.0, "random": -1.0}
    return curve_estimate(
        curves,
        factors,
        area_weights(sizes),
        resamples=resamples,
        seed=seed,
        extras={"shares": sizes.tolist()},
    )


def _mean(values: Array) -> Array:
    """Return the mean over the seeds that did not diverge, as one seed, (n_shares, 1, n_query)."""
    return mean_of_orders(np.moveaxis(values, 1, 0)[..., None, :])


make_callable(__name__, coreset_of_arrays)
