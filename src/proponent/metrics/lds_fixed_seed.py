"""Linear data-modelling score of a single model: retrainings use the seeds of one member of the ensemble."""

from __future__ import annotations

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Estimate
from proponent.metrics.lds import lds_of_arrays, score
from proponent.metrics.metric_inputs import MetricInputs

NEEDS = ("ground_truth/subsets_fixed_seed",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``lds_fixed_seed``: as :func:`proponent.metrics.lds.evaluate`, on the design ``subsets_fixed_seed``.

    The ground truth is the effect of leaving examples out on *that* member, with its initialisation and batches:
    it has no seed noise, and a perfect additive predictor reaches 1 where effects are additive.
    """
    return {"lds_fixed_seed": score(inputs, "subsets_fixed_seed", resamples, seed)}


make_callable(__name__, lds_of_arrays)
