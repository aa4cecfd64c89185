"""Coresets and pruning: accuracy after training on the most, or the least, valuable examples."""

from __future__ import annotations

from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.retrained_curves import alive, area_weights, curve_estimate, retrained, utility

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
    interval is over test queries; it does not cover the seeds of the retrainings or the choice of the random subsets.

    Args:
        inputs: retrainings on the masks of the method (``own``) and on random ones (``shared``).
        name: beginning of the names of the estimates, for a second design of the same kind.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        Two estimates. Their extras: ``shares`` kept; ``utility`` (``accuracy`` or ``target``); ``all`` (utility after
        training on all examples); the curves of :func:`~proponent.metrics.retrained_curves.curve_estimate`; ``n_diverged``.

    Raises:
        UserError: the metric has no design, or all retrainings on a mask diverged.
    """
    own, shared = (retrained(inputs, "coreset", source) for source in ("own", "shared"))
    shares = own.masks[own.rows["best"]].mean(axis=1)
    curves = {kind: utility(own, own.rows[kind], "coreset") for kind in ("best", "worst")}
    curves["random"] = utility(shared, shared.rows["random"], "coreset").mean(axis=0)
    extras = {
        "shares": shares.tolist(),
        "utility": "target" if own.correct is None else "accuracy",
        "all": float(utility(shared, shared.rows["all"], "coreset").mean()),
        "n_diverged": int((~alive(own)).sum()),
        "n_seeds": own.targets.shape[1],
    }
    return {
        f"{name}_{kind}": curve_estimate(
            {curve: curves[curve] for curve in combination},
            combination,
            area_weights(shares),
            resamples=resamples,
            seed=seed,
            extras=extras,
        )
        for kind, combination in (
            ("keep_best", {"best": 1.0, "random": -1.0}),
            ("remove_best", {"random": 1.0, "worst": -1.0}),
        )
    }
