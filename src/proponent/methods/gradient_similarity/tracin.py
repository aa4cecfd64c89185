"""TracIn over checkpoints.

(Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent".)

Following the loss along training, example i moved the target of query q by the sum over the steps in which it
was used of ``-(eta_t / B) grad f_q(theta_t) . grad loss_i(theta_t)``. TracInCP keeps only saved checkpoints:

    scores[q, i] = (1/n) sum_k  eta_k  w_i(theta_k) <grad f_q(theta_k), grad f_i(theta_k)>

With ``steps="rate"`` eta_k is the learning rate at checkpoint k, as published. With ``steps="path"`` it is
the sum of the learning rates since the checkpoint before, divided by 1 - momentum: a quadrature of the path
itself, which is right for checkpoints that are not evenly spaced, for schedules and for momentum. Then the
scores of all training examples add up to the change of the target since the start, as the spacing goes to 0.

``until`` ends the sum early: later checkpoints, of a model that has fitted its data, may say little beside them.

``layers="last"`` keeps the last linear layer, whose gradient is (error) x (representation). Cost: one cross
product of gradients a checkpoint. Fails where a few examples of large loss dominate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from proponent.methods.shared.needs import GradientPair, Gradients

CHECKPOINTS = 1
_ROUNDING = 1 + 1e-6
"""Of sums of learning rates."""


def attribute(
    gradients: Gradients,
    *,
    layers: Literal["all", "last"] = "all",
    steps: Literal["path", "rate"] = "path",
    until: float = 1.0,
) -> Tensor:
    """Return the scores, (n_query, n_train).

    Args:
        gradients: of one member.
        layers: parameters whose gradients count.
        steps: length of training that a checkpoint stands for.
        until: fraction of the path (the sum of the learning rates) whose checkpoints count; the first always does.
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
    gradients: Gradients,
    *,
    layers: Literal["all", "last"] = "all",
    steps: Literal["path", "rate"] = "path",
    until: float = 1.0,
) -> Tensor:
    """Return the score of each training example on its own ``-loss``, (n_train,), never negative."""
    scores = torch.zeros(())
    for pair, weight in _weighted(gradients, steps, until):
        train = pair.train if layers == "all" else pair.train.last_layer()
        scores = scores + train.norms_squared() * weight * pair.loss_weight**2
    return scores


def path_steps(durations: Sequence[float], until: float) -> list[float]:
    """Return how much of the path each checkpoint stands for: what it grew since the one before.

    Args:
        durations: length of training up to each checkpoint, rising.
        until: fraction of the path whose checkpoints count, the first in any case; the others have no entry.
    """
    end = until * durations[-1] * _ROUNDING
    counted = [duration for at, duration in enumerate(durations) if at == 0 or duration <= end]
    return [duration - before for before, duration in pairwise([0.0, *counted])]


def _weighted(gradients: Gradients, steps: str, until: float) -> Iterator[tuple[GradientPair, float]]:
    # The steps come first: the checkpoints behind the last of them are not even read.
    for grown, pair in zip(path_steps(gradients.durations, until), gradients.along(), strict=False):
        yield pair, (pair.learning_rate if steps == "rate" else grown) / len(pair.train)
