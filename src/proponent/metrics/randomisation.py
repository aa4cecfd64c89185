"""Randomised model: how much the scores of a method change when the weights of the model are shuffled."""

from __future__ import annotations

from numpy.typing import ArrayLike

from proponent.callable_modules import make_callable
from proponent.metrics.estimate import Estimate
from proponent.metrics.metric_inputs import MetricInputs
from proponent.metrics.stability import compare_scores, repeated_scores

NEEDS = ("repeated/shuffled_weights",)


def evaluate(inputs: MetricInputs, *, resamples: int = 1000, seed: int = 0) -> dict[str, Estimate]:
    """Return ``randomisation``: 1 minus the absolute rank correlation with the scores for a model with shuffled weights.

    A method that explains the model must give other scores for a model that has learned nothing (Adebayo et al., 2018); one
    that looks at the data alone does not change, and has the value 0. The values of every weight tensor are shuffled, which
    keeps their distribution and works for pretrained models as well. Spearman's correlation over training examples
    (mid-ranks for ties) is computed for each query; a query with equal scores for all examples counts as 0. The
    interval is over queries.

    Args:
        inputs: scores, and the scores of the same method and hyper-parameters for a model with
            shuffled weights (``shuffled_weights``).
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the methods of a setting.

    Returns:
        One estimate. Its extras: ``n_constant`` queries that count as 0, ``n_queries`` and ``per_query``.

    Raises:
        UserError: scores of different shapes or not finite; the scores were not repeated.
    """
    other = repeated_scores(inputs, "shuffled_weights", "randomisation")
    return {"randomisation": compare_scores(inputs.scores, other, resamples, seed, difference=True)}


def randomisation_of_arrays(
    scores: ArrayLike, randomised: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return how much scores change when the weights of the model are random, for scores that were computed anywhere.

    Args:
        scores: (n_query, n_train) for the trained model; positive = the example raises the query's target.
        randomised: (n_query, n_train) scores of the same method for a model with random weights, or for one that
            was trained on shuffled labels.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples; equal seeds pair the scores of several methods.

    Returns:
        1 minus the absolute value of Spearman's correlation over training examples, averaged over queries, in [0, 1]; its
        95 % bootstrap interval over queries.

    Raises:
        UserError: shapes differ, or scores are not finite.

    Examples:
        >>> import proponent
        >>> proponent.metrics.randomisation([[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]).value
        0.0
    """
    return compare_scores(scores, randomised, resamples, seed, difference=True)


make_callable(__name__, randomisation_of_arrays)
