"""Randomised labels: how much the scores of a method change when the model learns shuffled labels (Adebayo et al., 2018)."""

from __future__ import annotations

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.randomisation import randomisation_of_arrays
from proponent.metrics.stability import compare_scores, repeated_scores

NEEDS = ("repeated/shuffled_labels",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``label_randomisation``: 1 minus the absolute rank correlation with scores for shuffled labels.

    The labels of the training examples are permuted, one member is trained on them, and the method is run on this member and
    these labels. A method that explains what was learned from the labels must give other scores. Correlation, ties and
    constant scores are those of :func:`proponent.metrics.randomisation.evaluate`.

    Args:
        inputs: scores, and the scores of the same method and hyper-parameters for a model that learned ``shuffled_labels``.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``n_constant`` queries that count as 0, ``n_queries`` and ``per_query``.

    Raises:
        UserError: scores of different shapes or not finite; the scores were not repeated.
    """
    other = repeated_scores(inputs, "shuffled_labels", "label_randomisation")
    return {"label_randomisation": compare_scores(inputs.scores, other, resamples, seed, difference=True)}


make_callable(__name__, randomisation_of_arrays)
