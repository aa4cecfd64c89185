"""TracIn over checkpoints (Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent").

Along training, example i moved the target of query q by the sum of ``-(eta_t / B) grad f_q(theta_t) . grad
loss_i(theta_t)`` over the steps t whose batch contained it. TracInCP approximates the sum by saved checkpoints:

    scores[q, i] = (1/n) sum_k  eta_k  w_i(theta_k) <grad f_q(theta_k), grad f_i(theta_k)>

With ``steps="rate"`` eta_k is the learning rate at checkpoint k, as published. With ``steps="path"`` it is the sum of
the learning rates since the previous checkpoint, divided by 1 - momentum. That is a quadrature of the training path,
correct for unevenly spaced checkpoints, learning rate schedules and momentum: as the spacing approaches 0, the scores
of all training examples add up to the change of the target since the start.

Shapes: (n_query, n_train). Cost: one cross product of gradients per checkpoint; the last layer's gradients, used with
``layers="last"``, are outer products of error and representation. Fails where a few examples of large loss dominate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import GradientPair, Gradients
from proponent.methods.shared.path_lengths import path_lengths

CHECKPOINTS = 1
USES = {"layers": {"last": "gradients.last"}}


def attribute(
    gradients: Gradients,
    *,
    layers: Literal["all", "last"] = "all",
    steps: Literal["path", "rate"] = "path",
    until: float = 1.0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        gradients: gradients of one member.
        layers: layers whose gradients are compared; ``last`` is the last linear layer.
        steps: weight of a checkpoint, the learning rate there or the length of the path that it stands for.
        until: fraction of training; the checkpoints up to the one nearest to it count. Checkpoints of a model that has
            fitted its data may add little.
    """
    scores = torch.zeros(())
    for pair, weight in _weighted(gradients, steps, until):
        query, train = (
            (pair.query, pair.train)
            if layers == "all"
            else (pair.query.last_layer(), pair.train.last_layer())
        )
        scores = scores + query.inner(train) * (weight * pair.loss_weight)
    return scores


def self_influence(
    gradients: Gradients, *, layers: Literal["all", "last"], steps: Literal["path", "rate"], until: float
) -> Tensor:
    """Return the score of each training example on its own ``-loss``, (n_train,), never negative."""
    scores = torch.zeros(())
    for pair, weight in _weighted(gradients, steps, until):
        train = pair.train if layers == "all" else pair.train.last_layer()
        scores = scores + train.norms_squared() * weight * pair.loss_weight**2
    return scores


def _weighted(gradients: Gradients, steps: str, until: float) -> Iterator[tuple[GradientPair, float]]:
    lengths = path_lengths(gradients.durations[: gradients.nearest(until) + 1])
    # zip stops after the lengths, so that later checkpoints are not read
    for length, pair in zip(lengths, gradients.along(), strict=False):
        yield pair, (pair.learning_rate if steps == "rate" else length) / len(pair.train)
