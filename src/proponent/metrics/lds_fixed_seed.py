"""The linear data-modelling score for one model: retrainings keep the seeds of a member of the ensemble."""

from __future__ import annotations

from proponent.metrics import lds
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs

NEEDS = ("ground_truth/subsets_fixed_seed",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``lds_fixed_seed``: as :func:`proponent.metrics.lds.evaluate`, on the ``subsets_fixed_seed`` design.

    Its truth is what leaving examples out does to *that* member, with its initialisation and batches: there is no
    noise of seeds, and a perfect additive predictor of the member reaches 1 where effects add up.
    """
    return {"lds_fixed_seed": lds.score(inputs, "subsets_fixed_seed", resamples, seed)}
