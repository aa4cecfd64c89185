"""Linear data-modelling score (Park et al., 2023) for subsets from which other shares than a half are removed."""

from __future__ import annotations

from proponent.metrics.estimate import Estimate
from proponent.metrics.lds import score
from proponent.metrics.metric_inputs import MetricInputs, Retrainings
from proponent.metrics.retrained_curves import retrained

NEEDS = ()
DESIGN = "fractions"


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``lds_removed_P`` for each percentage P of the examples that the design removes.

    Each is the score of :func:`proponent.metrics.lds.score` on the subsets of this size, with its own ceiling: removing few
    examples changes the target less than another seed does, so that both the ceiling and the scores are lower.

    Args:
        inputs: scores, and retrainings on random subsets (``shared``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Raises:
        UserError: the metric has no design; scores of the wrong shape or not finite; too few usable retrainings.
    """
    truth = retrained(inputs, "lds-fractions", "shared")
    found = {}
    for rows in truth.rows["fractions"]:
        removed = 100 * (1 - truth.masks[rows].mean())
        name = f"lds_removed_{removed:.0f}"
        subsets = Retrainings(truth.masks[rows], truth.targets[rows])
        some = MetricInputs(inputs.scores, groups=inputs.groups, ground_truth={name: subsets})
        found[name] = score(some, name, resamples, seed)
    return found
